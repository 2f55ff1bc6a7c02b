"""How a large batch is cut into parts."""

import torch

TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # a row of them is a text; of multiple choice, a candidate


def token_mask(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return which cells of a batch hold a token, [texts, tokens]."""
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
    return mask.reshape(-1, mask.shape[-1])


def cut_batch(
    inputs: dict[str, torch.Tensor], max_tokens: int | None, multiple: int = 1, by_token: tuple[str, ...] = TOKEN_INPUTS
) -> list[dict[str, torch.Tensor]]:
    """Cut a batch into parts of at most `max_tokens`, with padding. Each part is padded to its own longest text only.

    Texts of similar length share a part, and a part has at least one row.

    Args:
        inputs: the tensors named in `by_token` are [texts, …, tokens]; all others have one line a row. A row is a text, or in
            multiple choice the candidates that `present` [rows, candidates] counts.
        multiple: the width of a part is a multiple of this, up to the width of the batch.
    """
    if not max_tokens or inputs["input_ids"].numel() <= max_tokens:
        return [inputs]
    mask = token_mask(inputs)
    counts = inputs["present"].sum(dim=1).cpu() if "present" in inputs else torch.ones(len(mask), dtype=torch.int64)
    first_text = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    lengths = [-(-part.max().item() // multiple) * multiple for part in mask.sum(dim=1).cpu().split(counts.tolist())]
    parts: list[list[int]] = []
    texts = 0
    for row in sorted(range(len(counts)), key=lambda row: -lengths[row]):
        if not parts or (texts + counts[row]) * lengths[parts[-1][0]] > max_tokens:
            parts, texts = [*parts, []], 0
        parts[-1].append(row)
        texts += counts[row]
    cut = []
    for rows in parts:
        texts = torch.cat([torch.arange(first_text[row], first_text[row + 1]) for row in rows]).to(mask.device)
        columns = mask[texts].any(dim=0)
        columns = columns | (~columns & ((~columns).cumsum(0) <= -columns.sum() % multiple))  # the first of the empty ones
        rows = torch.tensor(rows, device=mask.device)
        cut.append({n: tensor[texts][..., columns] if n in by_token else tensor[rows] for n, tensor in inputs.items()})
    return cut
