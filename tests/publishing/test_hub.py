"""What arrives at the Hub, or at a stand-in for it that speaks its HTTP API."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import launch, make_rows, write_jsonl

import run_multilabel
from utils.arguments import UserError


class Hub(BaseHTTPRequestHandler):
    """Takes every file in the body of a commit, as the Hub does with small ones, and keeps the commits in a list."""

    commits: list[tuple[str, dict[str, bytes]]]

    def do_POST(self):
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            answer = {"url": f"http://{self.headers['Host']}/me/{json.loads(body)['name']}", "name": "me/mine"}
        elif "/preupload/" in self.path:
            answer = {"files": [file | {"uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]}
        elif "/commit/" in self.path:
            header, *rest = (json.loads(line) for line in body.splitlines())
            files = {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in rest if line["key"] == "file"}
            self.commits.append((header["value"]["summary"], files))
            answer = {"commitUrl": f"http://{self.headers['Host']}/me/mine/commit/1", "commitOid": "1", "hookOutput": ""}
        else:
            answer = {}
        self._answer(answer)

    def do_GET(self):
        self._answer({})

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def _answer(self, answer: dict) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    Hub.commits = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.slow
def test_the_last_commit_has_the_final_card_and_thresholds_and_none_of_the_rows(hub, tiny_model, tmp_path):
    train, test = (write_jsonl(tmp_path / f"{seed}.jsonl", make_rows(60, seed)) for seed in (0, 1))
    options = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", "--num_train_epochs=2"]
    options += ["--push_to_hub", "--hub_model_id=mine", "--hub_token=hf_token", f"--output_dir={tmp_path / 'out'}"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "best_args.yaml").write_text(f"train_file: {train}\n")  # as a search leaves it
    result = launch("python", "run_multilabel.py", *options, HF_ENDPOINT=hub, HF_HUB_OFFLINE="0")
    assert "pushing the model to me/mine" in result.stderr
    *_, (summary, files) = Hub.commits
    assert summary == "End of training"
    assert files["README.md"] == (tmp_path / "out" / "README.md").read_bytes() and b"## Test scores" in files["README.md"]
    assert {"model.safetensors", "config.json", "tokenizer.json", "thresholds.json"} <= set(files)
    assert json.loads(files["config.json"])["thresholds"]
    for _, sent in Hub.commits:
        assert not [name for name in sent if name.endswith((".csv", ".html", ".bin", ".yaml", "report.json"))]
        assert not [name for name, content in sent.items() if str(tmp_path).encode() in content]


def test_a_hub_that_cannot_be_reached_is_said_in_a_line(tiny_model, tmp_path):
    train = write_jsonl(tmp_path / "train.jsonl", make_rows(60))
    options = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'out'}", "--push_to_hub"]
    with pytest.raises(UserError, match=r"--push_to_hub cannot make or find out on the Hub \(.*offline.*\): see `hf auth login`"):
        run_multilabel.main(options)
