"""The finished model on the Hub: card, thresholds and weights together, and none of the rows."""

import logging

from transformers import Trainer
from transformers.utils.hub import hf_api

logger = logging.getLogger(__name__)

# What tells of rows, of folders on this machine, or of a search. It stays in --output_dir.
PRIVATE = ("*.csv", "*.npy", "*.html", "*.yaml", "report.json", "data_report.json", "search.json", "*.db", "*.log")
PRIVATE += ("trainer_state.json", "training_args.bin", "runs/*", "checkpoint-*", ".*", "_*")


def push(trainer: Trainer) -> None:
    """Upload --output_dir to --hub_model_id, but for `PRIVATE`. `Trainer.push_to_hub` would write a card of its own first."""
    args = trainer.args
    trainer._finish_current_push()
    logger.info("pushing the model to %s (--push_to_hub); files about rows and runs stay here", trainer.hub_model_id)
    hf_api().upload_folder(
        repo_id=trainer.hub_model_id,
        folder_path=args.output_dir,
        commit_message="End of training",
        token=args.hub_token,
        revision=args.hub_revision,
        ignore_patterns=[*PRIVATE],
    )
