"""Data as people have it, and what they mean by it: a table that judges how files are read."""

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bad_inputs import CHOICE, CLASSIFICATION, MULTILABEL
from conftest import ROOT

PUBLIC = ROOT.parent / "shared" / "data"  # public data sets as they were published, where they lie beside this repository


@dataclass
class Reading:
    """Some files, and what is meant by them.

    With neither `asked` nor `refused` the files are to be read as meant.

    Attributes:
        files: content by name, or a function that writes it to a path. A name that begins with test or validation is that
            split; the first of the others trains.
        texts: those of the first training row, as the model reads them: one; two for a pair; for multiple choice the context,
            the question ("" for none) and the candidates.
        label: that of the first training row, in words; a set of names for several labels; a number for regression; a tuple
            where any of several spellings will do; None where it is open.
        labels: the names of all labels.
        targets: the first row's targets in the order of `labels`, None where a label is unknown.
        rows: how many rows train; `splits`: the splits that there are; `unlabelled_test`: the test data has no labels.
        id: the id column.
        asked: a pattern of the question that must be put before the files are read; `answer`: the options that make them read
            as meant, or () if it is enough that those in the question do so; `elsewhere`: the script that the answer is for;
            `steps`: how many questions there may be, one after another; `shown`: what the question shows of the columns.
        refused: a pattern of the error. If `texts` are given as well, the files may also be read as meant.
        or_read: what is asked may also be read as meant without a question.
        public: the public files that this takes.
        meant: returns `texts` and `label`, where they are in the public files.
    """

    name: str
    script: str
    files: dict[str, bytes | Callable[[Path], None]]
    texts: tuple[str, ...] = ()
    label: str | float | set[str] | tuple[str, ...] | None = None
    labels: list[str] | None = None
    options: tuple[str, ...] = ()
    targets: tuple[int | None, ...] | None = None
    rows: int | None = None
    splits: set[str] | None = None
    unlabelled_test: bool = False
    id: str | None = None
    asked: str | None = None
    answer: tuple[str, ...] = ()
    elsewhere: str | None = None
    steps: int = 2
    shown: tuple[str, ...] = ()
    refused: str | None = None
    or_read: bool = False
    needs: str | None = None  # a package that is not required
    public: str | None = None
    meant: Callable[[], tuple[tuple[str, ...], Any]] | None = field(default=None, repr=False)

    def write(self, folder: Path) -> list[str]:
        """Write the files into `folder`, and return the options that name them."""
        options = {}
        for name, content in self.files.items():
            path = folder / name
            if callable(content):
                content(path)
            else:
                path.write_bytes(content)
            split = next((split for split in ("test", "validation") if name.startswith(split)), "train")
            options.setdefault(split, f"--{split}_file={path}")
        return list(options.values())

    def expected(self) -> tuple[tuple[str, ...], Any]:
        """Return the texts and the label of the first training row."""
        return self.meant() if self.meant else (self.texts, self.label)


# How a table becomes a file. A table is a dict of columns; short columns are repeated, and a single value stands for all.


def rows_of(columns: dict[str, Any]) -> list[list]:
    lists = {name: value if isinstance(value, list) else [value] for name, value in columns.items()}
    length = max(map(len, lists.values()))
    return [list(row) for row in zip(*(islice(cycle(values), length) for values in lists.values()), strict=True)]


def objects(columns: dict[str, Any]) -> list[dict]:
    return [dict(zip(columns, row, strict=True)) for row in rows_of(columns)]


def table(columns: dict[str, Any], delimiter: str = ",", end: str = "\n", header: bool = True, encoding: str = "utf-8") -> bytes:
    """Return a delimited file. Cells are quoted where that is needed."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerows([list(columns)] * header + rows_of(columns))
    return file.getvalue().encode(encoding)


def plain(columns: dict[str, Any], delimiter: str = "\t", header: bool = True) -> bytes:
    """Return a delimited file without any quoting."""
    rows = [list(columns)] * header + rows_of(columns)
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows).encode()


def lines(rows: dict[str, Any] | list[dict]) -> bytes:
    """Return JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in (objects(rows) if isinstance(rows, dict) else rows)).encode()


def dump(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode()


def workbook(columns: dict[str, Any]) -> Callable[[Path], None]:
    """Return a function that writes an Excel workbook with one sheet."""

    def write(path: Path) -> None:
        import openpyxl

        book = openpyxl.Workbook()
        for row in [list(columns), *rows_of(columns)]:
            book.active.append(row)
        book.save(path)

    return write


def archive(**members: bytes) -> bytes:
    """Return a zip archive of CSV files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(f"{name}.csv", content)
    return file.getvalue()


def folder_of_classes(texts: dict[str, list[str]]) -> Callable[[Path], None]:
    """Return a function that writes a folder for each class, with a file for each text."""

    def write(path: Path) -> None:
        for name, those in texts.items():
            (path / name).mkdir(parents=True)
            for number, text in enumerate(those):
                (path / name / f"{number:03}.txt").write_text(text, encoding="utf-8")

    return write


def saved_dataset(columns: dict[str, Any]) -> Callable[[Path], None]:
    """Return a function that writes a folder with `save_to_disk`."""

    def write(path: Path) -> None:
        from datasets import Dataset

        Dataset.from_list(objects(columns)).save_to_disk(path)

    return write


def first(public: str, lines_wanted: int = 300) -> Callable[[Path], None]:
    """Return a function that writes the first lines of a public file, as many more as end its last quoted cell."""

    def write(path: Path) -> None:
        source = PUBLIC / public
        unpacked = (gzip.open if source.suffix == ".gz" else open)(source, "rb")
        kept, marks = [], 0
        quoted = public.endswith((".csv", ".csv.gz"))
        with unpacked as file:
            for number, line in enumerate(file):
                if number >= lines_wanted and not (quoted and marks % 2):
                    break
                kept.append(line)
                marks += line.count(b'"')
        content = b"".join(kept)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


def published(public: str) -> str:
    """Return a public file's text."""
    content = (PUBLIC / public).read_bytes()
    return (gzip.decompress(content) if public.endswith(".gz") else content).decode("utf-8-sig")


def cells(public: str, row: int, delimiter: str) -> list[str]:
    """Return the cells of a row of a public file that is quoted as usual; the header, if any, is row 0."""
    return next(islice(csv.reader(io.StringIO(published(public), newline=""), delimiter=delimiter), row, None))


def fields(public: str, line: int) -> list[str]:
    """Return the fields of a line of a public file that is separated by tabs and not quoted."""
    return published(public).split("\n")[line].rstrip("\r").split("\t")


def first_object(public: str) -> dict:
    return json.loads(published(public).split("\n", 1)[0])


# What people write. Twelve rows of each kind.

SUBJECTS = [
    "Charged twice in March",
    "Parcel still not here",
    "Lid arrived cracked",
    "Wrong amount on the invoice",
    "Courier left it in the rain",
    "Kettle stops after a minute",
    "Refund for the returned lamp",
    "Delivery to the old address",
    "Handle came off",
    "Copy of the receipt",
    "Tracking number does not work",
    "Timer is ten minutes fast",
]
BODIES = [
    "My card shows the same payment two times, on the 3rd and on the 4th.",
    "The order was due last Tuesday and nobody can tell me where it is.",
    "There is a crack right through the glass lid, so it cannot be used.",
    "You billed me for three lamps, but I ordered and received only two.",
    "The driver put the box on the lawn without ringing; it is soaked.",
    "It switches itself off long before the water boils, every time.",
    "I sent the lamp back four weeks ago and have not seen the money.",
    "We moved in May. Please send the chairs to the new address instead.",
    "The handle of the pan broke when my son lifted it from the stove.",
    "Our accountant needs a receipt with the VAT number of the company.",
    "The link in your e-mail says that this shipment does not exist.",
    "The oven timer runs so fast that yesterday's bread is still pale.",
]
TOPICS = ["billing", "delivery", "defect"]  # of these rows, in turn
TICKETS = [f"T-{40318 + 7 * number}" for number in range(12)]
URLS = [f"https://help.kettles-and-lamps.example/en-gb/tickets/view/{40318 + 7 * n}?source=mail&folder=inbox" for n in range(12)]
DATES = [f"2024-0{1 + n // 4}-{3 + 2 * n:02}" for n in range(12)]
# The labels of several that each row has, as 1 and 0.
BILLING, DELIVERY, DEFECT = [1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0], [1, 0, 1, 0, 1, 1] * 2
SEVERAL = {"billing": BILLING, "delivery": DELIVERY, "defect": DEFECT}
NAMES = list(SEVERAL)
TAGS = [[name for name in NAMES if SEVERAL[name][row]] for row in range(12)]  # the first row: billing and defect
PARTS = [[body, BODIES[number - 1]][: 1 + number % 2] for number, body in enumerate(BODIES, start=1)]  # of a text each
TITLES = [
    "Best lamp I own",
    "Broke in a week",
    "Fine for the price",
    "Not as pictured",
    "A lovely gift",
    "Too loud",
    "Does what it should",
    "Would buy again",
    "Waste of money",
    "Almost perfect",
    "Very slow delivery",
    "My cat loves it",
]
REVIEWS = [
    "It gives a warm light and the switch feels solid. I bought a second one.",
    "The shade came loose after six days and the shop does not answer.",
    "Nothing special, but you get what you pay for and it works.",
    "In the photo it is dark green. The one that I got is nearly grey.",
    "My mother was delighted, and the wrapping was very pretty too.",
    "You can hear the fan two rooms away, so I only use it outdoors.",
    "I set it up in five minutes and have not thought about it since.",
    "Third set that we order for the office, and still no complaints.",
    "The battery lasts for half an hour at most. I sent it back.",
    "If only the cable were half a metre longer I would give full marks.",
    "It took a month to arrive, though the quality is quite all right.",
    "He sleeps on the box and ignores the bed, but he is happy with it.",
]
STARS = [5, 1, 3, 2, 5, 2, 4, 5, 1, 4, 3, 4]
SENTIMENTS = ["positive", "negative", "neutral", "negative", "positive", "negative"]
SIGNS = [1, -1, 0, -1, 1, -1]
FIRST = [
    "The museum will stay open until nine on Fridays.",
    "She sold the house in spring for less than she had paid.",
    "Police closed the bridge after a lorry caught fire.",
    "The company expects profits to rise by a tenth this year.",
    "How can I learn to swim as an adult?",
    "Two climbers were found alive after three nights on the ridge.",
    "The mayor promised a new library for the harbour district.",
    "Which trains run between Basel and Milan at night?",
    "Farmers fear that the frost has killed most of the blossom.",
    "The band cancelled its tour because the singer is ill.",
    "What is the cheapest way to send a piano abroad?",
    "He finished the marathon in under three hours.",
]
SECOND = [
    "On Fridays visitors can see the museum until 9 p.m.",
    "She bought a larger house in spring.",
    "A burning lorry led the police to shut the bridge.",
    "Profits fell by a tenth, the company said.",
    "What is a good way for grown-ups to take up swimming?",
    "After three nights on the ridge two climbers have been rescued.",
    "The mayor closed the library near the harbour.",
    "Are there night trains from Basel to Milan?",
    "Most of the blossom may be lost to frost, farmers say.",
    "The singer of the band has left for good.",
    "How cheaply can one ship a piano overseas?",
    "It took him more than four hours to run the marathon.",
]
SAME = [1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0]
CLOSENESS = [4.5, 1.2, 4.0, 1.75, 4.8, 4.6, 1.5, 4.25, 4.4, 2.1, 4.9, 1.0]
ENTAILMENT = ["entailment", "neutral", "entailment", "contradiction"] * 3
QUESTIONS = [
    "can you see the harbour from the old lighthouse",
    "do otters sleep on land",
    "is the number two tram free on sundays",
    "did the bakery open before the war",
    "are quinces eaten raw",
    "does the ferry take bicycles",
    "is slate harder than marble",
    "was the bridge built by the romans",
    "can bees see red",
    "does the castle have a moat",
    "is the lake deep enough for ships",
    "do the shops close at noon",
]
PASSAGES = [
    "The old lighthouse stands on a cliff. From its gallery visitors look over the whole harbour and the islands beyond.",
    "Otters rest in holts dug into the bank, although sea otters commonly sleep afloat, wrapped in kelp.",
    "Since 2019 nobody pays on the tram at weekends; the second line is the only one that is excepted.",
    "A sign over the door says that the first loaves were sold in 1921, between the two wars.",
    "The flesh of the quince is hard and sour. It is nearly always stewed, baked or made into jelly.",
    "Passengers may bring bicycles on all crossings except the first one on Mondays, which carries freight.",
    "Slate splits into thin plates and scratches marble with ease, which is why roofers prefer it.",
    "Although it is known as the Roman bridge, its seven arches were raised by monks in 1258.",
    "The eye of a bee has cells for blue, green and ultraviolet light. Red looks black to it.",
    "Three sides of the castle fall steeply to the river, and the fourth is guarded by a wide moat.",
    "With a depth of four metres the lake can be crossed by rowing boats, but not by anything larger.",
    "In July the shops of the old town are closed between one and four, and open until late at night.",
]
TRUE = [True, False, False, False, False, True, True, False, False, True, False, False]
CONTEXTS = [
    "Ada put the dough on the shelf above the oven and went out.",
    "The snow had fallen all night and the road was gone.",
    "Jonas found his umbrella on the train, broken in two.",
    "The choir had practised since October.",
    "Mira heard the kettle whistle in the kitchen.",
    "The old dog would not go near the cellar door.",
    "Rafael had lost the key to his bicycle.",
    "The lights in the theatre went down.",
]
ASKED = [
    "What will she find when she returns?",
    "How did the children get to school?",
    "What did he do next?",
    "How did the concert go?",
    "Why did she get up?",
    "What was behind it?",
    "How did he get home?",
    "What did the audience do?",
]
CANDIDATES = [
    ["A bowl of dough that has risen", "A cake with nine candles", "An empty shelf in the cellar"],
    ["They stayed at home", "They swam across the bay", "They took the ferry"],
    ["He sailed to Norway", "He planted a tree", "He threw it away and got wet"],
    ["The stage was painted blue", "Everyone sang without a mistake", "The hall was sold to a baker"],
    ["The tea was cold", "To take it off the stove", "To feed the goldfish"],
    ["A badger had moved in", "A row of clean plates", "The morning paper"],
    ["He flew", "He sat down in a boat", "He walked and pushed it"],
    ["They fell silent", "They began to swim", "They bought bread"],
]
RIGHT = [0, 0, 2, 1, 1, 0, 2, 0]
QUIZ = {"context": CONTEXTS, "question": ASKED}
EACH = [[row[position] for row in CANDIDATES] for position in range(3)]  # the candidates of a position
LETTERS = ["ABC"[position] for position in RIGHT]
QUAIL = QUIZ | {f"answer_{n}": each for n, each in enumerate(EACH)} | {"answer_1": "yes", "correct_answer_id": RIGHT}
RIGHT_TEXTS = [row[position] for row, position in zip(CANDIDATES, RIGHT, strict=True)]
QUIZ_TEXTS = (CONTEXTS[0], ASKED[0], *CANDIDATES[0])

JOINED = ("--text_column_delimiter= ",)


def names(*columns: str) -> tuple[str, ...]:
    return (f"--text_column_names={','.join(columns)}",)


def joined(*columns: str) -> tuple[str, ...]:
    return names(*columns) + JOINED


def label(column: str) -> tuple[str, ...]:
    return (f"--label_column_name={column}",)


def labels(*columns: str) -> tuple[str, ...]:
    return (f"--label_column_names={','.join(columns)}",)


def headless(*columns: str) -> tuple[str, ...]:
    return ("--no_header", f"--column_names={','.join(columns)}")


def case(script: str) -> Callable[..., Reading]:
    """Return a `Reading` of `script`, which is made with its other arguments."""

    def make(name: str, files: bytes | dict | Callable, *meant, **more) -> Reading:
        return Reading(name, script, files if isinstance(files, dict) else {"train.csv": files}, *meant, **more)

    return make


classification, multilabel, choice = case(CLASSIFICATION), case(MULTILABEL), case(CHOICE)


def genres_of(tags: list[str]) -> str:
    return json.dumps([{"id": len(tag), "name": tag} for tag in tags])


def fasttext(tags: list[list[str]]) -> bytes:
    lines = (f"{''.join(f'__label__{tag} ' for tag in own)}{body}\n" for own, body in zip(tags, BODIES, strict=False))
    return "".join(lines).encode()


def without(columns: dict[str, Any], *left_out: str) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name not in left_out}


def emptied(values: Iterable, empty: Any = "") -> list:
    """Return 0/1 cells with `empty` in place of 0."""
    return [value or empty for value in values]


def some(values: list, places: dict[int, Any]) -> list:
    """Return `values` with others in some places."""
    return [places.get(number, value) for number, value in enumerate(values)]


# Two texts: a pair where the names say so, else a question.

STS = {
    "index": list(range(12)),
    "genre": "main-captions",
    "filename": "MSRvid",
    "year": "2012test",
    "old_index": [f"{n:04}" for n in range(12)],
    "source1": "none",
    "source2": "none",
    "sentence1": some(FIRST, {0: 'The "Sea Horse" stays open until nine.', 3: 'The company expects "record profits this year.'}),
    "sentence2": SECOND,
    "score": CLOSENESS,
}
SICK = {
    "pair_ID": list(range(1, 13)),
    "sentence_A": FIRST,
    "sentence_B": SECOND,
    "relatedness_score": CLOSENESS,
    "entailment_judgment": [name.upper() for name in ENTAILMENT],
}
SNLI = {
    "annotator_labels": [[name] * 5 for name in ENTAILMENT],
    "captionID": [f"{3416050480 + n // 3}.jpg#4" for n in range(12)],
    "gold_label": some(ENTAILMENT, {4: "-"}),
    "pairID": [f"{3416050480 + n // 3}.jpg#4r{n % 3}{'nec'[n % 3]}" for n in range(12)],
    "sentence1": FIRST,
    "sentence1_binary_parse": [f"( {text[:-1].replace(' ', ' ( ')} . {')' * text.count(' ')} )" for text in FIRST],
    "sentence1_parse": [f"(ROOT (S {' '.join(f'(NN {word})' for word in text.split())}))" for text in FIRST],
    "sentence2": SECOND,
    "sentence2_binary_parse": [f"( {text[:-1].replace(' ', ' ( ')} . {')' * text.count(' ')} )" for text in SECOND],
    "sentence2_parse": [f"(ROOT (S {' '.join(f'(NN {word})' for word in text.split())}))" for text in SECOND],
}
MNLI = {
    "index": list(range(12)),
    "promptID": [31193 + n for n in range(12)],
    "pairID": [f"{31193 + n}{'nec'[n % 3]}" for n in range(12)],
    "genre": ["government", "telephone", "fiction", "travel"],
    "sentence1_binary_parse": SNLI["sentence1_binary_parse"],
    "sentence2_binary_parse": SNLI["sentence2_binary_parse"],
    "sentence1": FIRST,
    "sentence2": SECOND,
    "label1": ENTAILMENT,
    "gold_label": ENTAILMENT,
}
PATENTS = {
    "id": [f"37d61fd227{n:06x}" for n in range(12)],
    "anchor": ["abatement", "lamp socket", "heating coil", "water inlet"],
    "target": ["abatement of pollution", "socket for a lamp", "coil spring", "outlet of water", "noise abatement", "bulb holder"]
    + ["electric heater coil", "feed pipe", "act of abating", "lamp shade", "cooling coil", "inlet valve"],
    "context": ["A47", "F21", "H05", "E03"],
    "score": [0.5, 1.0, 0.25, 0.25, 0.5, 0.75, 0.75, 0.5, 0.75, 0.25, 0.5, 0.5],
}
ANY_PAIR = {"relation": ENTAILMENT}
PAIRS = [
    classification(
        "MRPC's columns",
        {"train.txt": plain({"Quality": SAME, "#1 ID": list(range(70, 82)), "#2 ID": list(range(170, 182)),
                             "#1 String": FIRST, "#2 String": SECOND})},
        (FIRST[0], SECOND[0]), "1", ["0", "1"],
    ),
    classification(
        "SICK: a judgment and a score", {"train.txt": plain(SICK)}, (FIRST[0], SECOND[0]), "ENTAILMENT",
        ["CONTRADICTION", "ENTAILMENT", "NEUTRAL"],
        asked=r"--label_column_name \S*entailment_judgment", answer=label("entailment_judgment"), shown=("4.5", "ENTAILMENT"),
    ),
    classification(
        "SICK's score", {"train.txt": plain(SICK), "test.txt": plain(without(SICK, "relatedness_score"))},
        (FIRST[0], SECOND[0]), 4.5, options=label("relatedness_score"), id="pair_ID",
    ),
    classification(
        "QQP", {"train.tsv": table({"id": list(range(12)), "qid1": list(range(20, 32)), "qid2": list(range(40, 52)),
                                    "question1": FIRST, "question2": SECOND, "is_duplicate": SAME}, "\t")},
        (FIRST[0], SECOND[0]), "1", ["0", "1"],
    ),
    classification(
        "STS-B, with single quotation marks", {"train.tsv": plain(STS)},
        ('The "Sea Horse" stays open until nine.', SECOND[0]), 4.5, rows=12,
    ),
    classification(
        "MNLI", {"train.tsv": plain(MNLI)}, (FIRST[0], SECOND[0]), "entailment", ["contradiction", "entailment", "neutral"],
        asked=r"--label_column_name \S*gold_label", answer=label("gold_label"), or_read=True,
    ),
    classification(
        "SNLI, where the annotators did not agree on a few rows", {"train.jsonl": lines(SNLI)}, (FIRST[0], SECOND[0]),
        "entailment", ["contradiction", "entailment", "neutral"], rows=11,
        asked=r"--unknown_label[ =]'?-", answer=("--unknown_label=-",), or_read=True,
    ),
    classification(
        "PAWS", {"train.tsv": table({"id": list(range(1, 13)), "sentence1": FIRST, "sentence2": SECOND, "label": SAME}, "\t")},
        (FIRST[0], SECOND[0]), "1", ["0", "1"],
    ),
    classification(
        "BoolQ", {"train.jsonl": lines({"question": QUESTIONS, "answer": TRUE, "passage": PASSAGES})},
        (QUESTIONS[0], PASSAGES[0]), ("True", "true"),
    ),
    classification(
        "QNLI", {"train.tsv": table({"index": list(range(12)), "question": QUESTIONS, "sentence": PASSAGES,
                                     "label": ["entailment", "not_entailment"]}, "\t")},
        (QUESTIONS[0], PASSAGES[0]), "entailment", ["entailment", "not_entailment"],
    ),
    classification(
        "a query and a passage", table({"query": QUESTIONS, "passage": PASSAGES, "relevant": SAME}),
        (QUESTIONS[0], PASSAGES[0]), "1", ["0", "1"],
        asked=r"--text_column_names query,passage.*--text_column_names passage", answer=names("query", "passage"), or_read=True,
        shown=("can you see", "The old lig"),
    ),
    classification(
        "a query and a passage, of which one is read", table({"query": QUESTIONS, "passage": PASSAGES, "relevant": SAME}),
        (PASSAGES[0],), "1", ["0", "1"], options=names("passage"),
    ),
    classification(
        "text_a and text_b", table({"text_b": SECOND, "text_a": FIRST} | ANY_PAIR), (FIRST[0], SECOND[0]), "entailment",
    ),
    classification(
        "a pair with names from a spreadsheet", table({"No.": list(range(1, 13)), "Sentence 1": FIRST, "Sentence 2": SECOND,
                                                       "Same meaning?": ["yes", "no", "yes", "no", "yes", "yes"] * 2}),
        (FIRST[0], SECOND[0]), "yes", ["no", "yes"],
    ),
    classification(
        "utterance_1 and utterance_2", table({"utterance_1": FIRST, "utterance_2": SECOND} | ANY_PAIR), (FIRST[0], SECOND[0]),
        "entailment",
    ),
    classification(
        "premise, hypothesis and their language",
        table({"id": [f"{n:010x}" for n in range(12)], "premise": FIRST, "hypothesis": SECOND, "lang_abv": ["en", "de"],
               "language": ["English", "German"], "label": [0, 1, 0, 2] * 3}),
        (FIRST[0], SECOND[0]), "0", ["0", "1", "2"],
    ),
    classification(
        "two texts whose names say nothing", table({"original": FIRST, "rewritten": SECOND, "verdict": ["keep", "drop"]}),
        (FIRST[0], SECOND[0]), "keep", ["drop", "keep"],
        asked=r"--text_column_names original,rewritten", answer=names("original", "rewritten"),
        shown=("The museum", "On Fridays"),
    ),
    classification(
        "patent phrases, where the target is a text", table(PATENTS), ("abatement", "abatement of pollution"), 0.5,
        asked=r"--(text_column_names|label_column_name) ", answer=names("anchor", "target") + label("score"),
    ),
    multilabel(
        "a pair and several labels", table({"question": QUESTIONS, "answer": PASSAGES} | SEVERAL), (QUESTIONS[0], PASSAGES[0]),
        {"billing", "defect"}, NAMES, asked=r"--text_column_names question,answer", answer=names("question", "answer"),
        or_read=True,
    ),
]  # fmt: skip

# A title beside a text: joined, or a question.

NEWS = {
    "link": [f"https://www.morning-herald.example/entry/{n:05}/the-whole-story-of-what-happened-and-why" for n in range(12)],
    "headline": TITLES,
    "category": ["HOME & LIVING", "MONEY", "ARTS"],
    "short_description": REVIEWS,
    "authors": ["Ada Brandt", "", "Jonas Weil"],
    "date": DATES,
}
CLOTHES = {
    "": list(range(12)),
    "Clothing ID": [767, 1080, 1077],
    "Age": [33 + 3 * n for n in range(12)],
    "Title": some(TITLES, {3: ""}),
    "Review Text": REVIEWS,
    "Rating": STARS,
    "Recommended IND": [int(star > 2) for star in STARS],
    "Positive Feedback Count": [0, 4, 0, 1, 6, 12],
    "Division Name": ["General", "General Petite"],
    "Department Name": ["Dresses", "Bottoms", "Tops"],
}
FOODS = {
    "Id": list(range(1, 13)),
    "ProductId": [f"B00{1000 + n // 2}X" for n in range(12)],
    "UserId": [f"A3SGXH7AUHU8G{n:X}" for n in range(12)],
    "ProfileName": ["delmartian", "dll pa", "Natalia Corres", "Karl"],
    "HelpfulnessNumerator": [1, 0, 1, 3],
    "HelpfulnessDenominator": [1, 0, 1, 3],
    "Score": STARS,
    "Time": [1303862400 + 86400 * n for n in range(12)],
    "Summary": TITLES,
    "Text": REVIEWS,
}
ZENDESK = {
    "Ticket ID": TICKETS,
    "Created at": [f"{day} 09:{n:02}" for n, day in enumerate(DATES)],
    "Subject": SUBJECTS,
    "Description": BODIES,
    "Priority": ["high", "normal", "low", "normal"],
    "Status": ["open", "solved"],
    "Ticket URL": URLS,
}
TITLED = {"title": TITLES, "text": REVIEWS, "label": SENTIMENTS}
WITH_TITLE = (f"{TITLES[0]} {REVIEWS[0]}",)
TITLE_QUESTION = {"asked": r"--text_column_names \S*title,\S+ --text_column_delimiter", "or_read": True}
TITLE_CASES = [
    classification(
        "Amazon reviews", table({"title": TITLES, "body": REVIEWS, "stars": STARS}), WITH_TITLE, "5", list("12345"),
        answer=joined("title", "body"), **TITLE_QUESTION,
    ),
    classification(
        "App Store reviews",
        table({"id": list(range(70001, 70013)), "date": DATES, "userName": [f"reader{n}" for n in range(12)], "title": TITLES,
               "review": REVIEWS, "rating": STARS, "version": ["4.2.1", "4.2.0"]}),
        WITH_TITLE, "5", list("12345"), answer=joined("title", "review"), **TITLE_QUESTION,
    ),
    classification(
        "a title that a row lacks", table(TITLED | {"title": some(TITLES, {3: ""}), "text": some(REVIEWS, {5: ""})}), WITH_TITLE,
        "positive", options=joined("title", "text"), rows=12,
    ),
    classification(
        "news with a category", table(NEWS), WITH_TITLE, "HOME & LIVING", ["ARTS", "HOME & LIVING", "MONEY"],
        asked=r"--text_column_names headline,short_description", answer=joined("headline", "short_description"), or_read=True,
        shown=("Best lamp", "It gives a"),
    ),
    classification(
        "news where the subject is a category",
        table({"title": TITLES, "text": REVIEWS, "subject": ["politics", "world"], "date": DATES, "label": SAME}), WITH_TITLE,
        "1", ["0", "1"], answer=joined("title", "text") + label("label"), **TITLE_QUESTION,
    ),
    classification(
        "clothes: a title, a rating and a recommendation", table(CLOTHES), WITH_TITLE, "5", list("12345"),
        asked=r"--(text_column_names|label_column_name) ", answer=joined("Title", "Review Text") + label("Rating"),
    ),
    classification(
        "food reviews: a summary and a text", {"train.csv": table(FOODS), "test.csv": table(without(FOODS, "Score"))}, WITH_TITLE,
        "5", list("12345"), id="Id", asked=r"--(text_column_names|label_column_name) ",
        answer=joined("Summary", "Text") + label("Score"), or_read=True,
    ),
    classification(
        "Zendesk tickets: two candidates for the label", table(ZENDESK), (f"{SUBJECTS[0]} {BODIES[0]}",), "high",
        ["high", "low", "normal"], asked=r"--(text_column_names|label_column_name) ",
        answer=joined("Subject", "Description") + label("Priority"),
    ),
    multilabel(
        "tickets with a subject, several labels", table({"Subject": SUBJECTS, "Body": BODIES} | SEVERAL),
        (f"{SUBJECTS[0]} {BODIES[0]}",), {"billing", "defect"}, NAMES,
        asked=r"--text_column_names Subject,Body", answer=joined("Subject", "Body"), or_read=True,
    ),
    multilabel(
        "only the body of the tickets", table({"Subject": SUBJECTS, "Body": BODIES} | SEVERAL), (BODIES[0],),
        {"billing", "defect"}, NAMES, options=names("Body"),
    ),
]  # fmt: skip

# One label, beside other columns that might be one.

AIRLINE = {
    "tweet_id": [570306133677760513 + 1024 * n for n in range(12)],
    "airline_sentiment": SENTIMENTS,
    "airline_sentiment_confidence": [1.0, 0.3486, 0.6837, 1.0],
    "negativereason": ["", "Late Flight", "", "Lost Luggage", "", "Bad Flight"],
    "negativereason_confidence": ["", 0.7033, "", 1.0, "", 0.6842],
    "airline": ["Valley Air", "Coastal"],
    "airline_sentiment_gold": "",
    "name": [f"flyer{n}" for n in range(12)],
    "negativereason_gold": "",
    "retweet_count": [0, 0, 0, 2],
    "text": [f"@ValleyAir {text}" for text in BODIES],
    "tweet_coord": "",
    "tweet_created": [f"{day} 11:35:52 -0800" for day in DATES],
    "tweet_location": ["", "Lets Play", "San Marino"],
    "user_timezone": ["Eastern Time (US & Canada)", "Pacific Time (US & Canada)"],
}
DISASTERS = {
    "id": [1, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16, 17],
    "keyword": ["", "ablaze", "accident"],
    "location": ["", "Birmingham", "Est. September 2012 - Bristol", "AFRICA"],
    "text": FIRST,
    "target": SAME,
}
PHRASES = {
    "PhraseId": list(range(1, 13)),
    "SentenceId": [1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 5],
    "Phrase": REVIEWS,
    "Sentiment": [4, 0, 2, 1, 4, 1, 3, 4, 0, 3, 2, 3],
}
READABILITY = {
    "id": [f"c1{n:07x}" for n in range(12)],
    "url_legal": ["", URLS[0], ""],
    "license": ["", "CC BY 4.0", ""],
    "excerpt": PASSAGES,
    "target": [-0.340259, -0.315372, -0.580118, -1.054013, 0.247197, -0.861809, -1.7, -0.2, 0.55, -2.1, -1.15, 0.02],
    "standard_error": [0.464009, 0.480805, 0.476676, 0.450007, 0.510845, 0.480936] * 2,
}
COMPLAINTS = {
    "Date received": DATES,
    "Product": ["Mortgage", "Credit card", "Debt collection"],
    "Issue": ["Billing", "Fees", "Closing", "Late payment"],
    "Consumer complaint narrative": BODIES,
    "Company": ["First Harbour Bank", "Alder Credit"],
    "State": ["CA", "NY", "TX"],
    "Complaint ID": list(range(3184250, 3184262)),
}
ESSAYS = {
    "discourse_id": [f"0013cc385424{n}" for n in range(12)],
    "essay_id": ["007ACE74B050", "00944C693682"],
    "discourse_text": PASSAGES,
    "discourse_type": ["Lead", "Position", "Claim", "Evidence"],
    "discourse_effectiveness": ["Adequate", "Effective", "Ineffective"],
}
STANCES = {
    "Tweet": FIRST,
    "Target": ["Atheism", "Climate Change is a Real Concern"],
    "Stance": ["FAVOR", "AGAINST", "NONE"],
    "Opinion Towards": ["TARGET", "OTHER"],
    "Sentiment": ["POSITIVE", "NEGATIVE", "NEITHER"],
}
LABEL_CASES = [
    classification(
        "a category beside a 0/1 column", table({"Message": BODIES, "Category": TOPICS, "Done?": [1, 0, 0, 1]}), (BODIES[0],),
        "billing", NAMES, asked=r"--label_column_name \S*Category", answer=label("Category"), or_read=True,
    ),
    classification(
        "a category beside facts about the row",
        table({"ticket_id": TICKETS, "message": BODIES, "category": TOPICS, "resolved": [1, 0, 0, 1], "is_vip": [0, 0, 1],
               "has_attachment": [0, 1]}),
        (BODIES[0],), "billing", NAMES, asked=r"--label_column_name \S*category", answer=label("category"), or_read=True,
    ),
    classification(
        "0/1 facts about the row, without a label", table({"message": BODIES, "is_vip": [0, 0, 1], "has_attachment": [0, 1]}),
        (BODIES[0],), asked=r"--label_column_names? \S*(is_vip|has_attachment)", answer=label("is_vip"),
    ),
    classification(
        "a confidence beside the label", table({"text": REVIEWS, "confidence": [0.91, 0.55, 0.7, 0.64], "mood": SENTIMENTS}),
        (REVIEWS[0],), "positive", sorted(set(SENTIMENTS)),
    ),
    classification(
        "a number of annotators beside the label", table({"votes": [3, 2, 3, 5], "comment": REVIEWS, "mood": SENTIMENTS}),
        (REVIEWS[0],), "positive", sorted(set(SENTIMENTS)),
    ),
    classification(
        "tweets about airlines", table(AIRLINE), (f"@ValleyAir {BODIES[0]}",), "positive", sorted(set(SENTIMENTS)),
        asked=r"--label_column_name \S*airline_sentiment", answer=label("airline_sentiment"), or_read=True,
    ),
    classification("tweets about disasters", table(DISASTERS), (FIRST[0],), "1", ["0", "1"]),
    classification(
        "phrases of film reviews", {"train.tsv": table(PHRASES, "\t"), "test.tsv": table(without(PHRASES, "Sentiment"), "\t")},
        (REVIEWS[0],), "4", list("01234"), id="PhraseId",
    ),
    classification(
        "readability: a target and its standard error", table(READABILITY), (PASSAGES[0],), -0.340259,
    ),
    classification(
        "film reviews", table({"review": REVIEWS, "sentiment": ["positive", "negative"]}), (REVIEWS[0],), "positive",
        ["negative", "positive"],
    ),
    classification(
        "tweets about an epidemic",
        table({"UserName": list(range(3799, 3811)), "ScreenName": list(range(48751, 48763)), "Location": ["London", "UK", ""],
               "TweetAt": DATES, "OriginalTweet": FIRST, "Sentiment": ["Neutral", "Positive", "Extremely Negative"]}, end="\r\n"),
        (FIRST[0],), "Neutral", ["Extremely Negative", "Neutral", "Positive"],
    ),
    classification(
        "consumer complaints: a product and an issue", table(COMPLAINTS), (BODIES[0],), "Mortgage",
        ["Credit card", "Debt collection", "Mortgage"], asked=r"--label_column_name \S*Product", answer=label("Product"),
        shown=("Mortgage", "Billing"),
    ),
    classification(
        "parts of essays: their type and their effect", table(ESSAYS), (PASSAGES[0],), "Adequate",
        ["Adequate", "Effective", "Ineffective"], asked=r"--label_column_name \S*discourse_effectiveness",
        answer=label("discourse_effectiveness"), shown=("Lead", "Adequate"),
    ),
    classification(
        "stances: several labels of one text", {"train.txt": plain(STANCES)}, (FIRST[0],), "FAVOR",
        ["AGAINST", "FAVOR", "NONE"], asked=r"--label_column_name \S*Stance", answer=names("Tweet") + label("Stance"),
    ),
    classification(
        "a label and its text",
        {"train.jsonl": lines({"text": REVIEWS, "label": [1, 0], "label_text": ["positive", "negative"]})},
        (REVIEWS[0],), ("1", "positive"),
    ),
    classification(
        "a tweet and the words that matter in it",
        table({"textID": [f"cb774db0{n:x}" for n in range(12)], "text": REVIEWS,
               "selected_text": [" ".join(text.split()[:4]) for text in REVIEWS], "sentiment": SENTIMENTS}),
        (REVIEWS[0],), "positive", sorted(set(SENTIMENTS)), asked=r"--text_column_names \S*text", answer=names("text"),
        or_read=True,
    ),
    classification("turns of a conversation", {"train.jsonl": lines({"turns": PARTS, "topic": TOPICS})}, (" ".join(PARTS[0]),),
                   "billing"),
    classification(
        "lines of fastText", {"cooking.train": fasttext([[topic] for topic in TOPICS * 4])}, (BODIES[0],), "billing", NAMES
    ),
    classification(
        "fastText with one label to train and two to validate",
        {"a.txt": fasttext([[topic] for topic in TOPICS * 4]), "validation.txt": fasttext(TAGS)},
        refused=r"validation\.txt, line 1.*found 2 labels.*run_multilabel\.py --problem_type multi_label_classification",
    ),
    classification("a chat", {"train.jsonl": lines({"messages": [[{"role": "user", "content": BODIES[0]}]], "topic": TOPICS})},
                   refused="no column of texts among messages, topic"),
    classification("two columns: a message, its folder", table({"message": BODIES, "folder": TOPICS}), (BODIES[0],), "billing"),
    classification("two columns: a code first", table({"Code": TOPICS, "Verbatim": BODIES}, ";"), (BODIES[0],), "billing", NAMES),
    classification("two columns in German", table({"Kommentar": BODIES, "Thema": TOPICS}, ";"), (BODIES[0],), "billing", NAMES),
    classification(
        "two columns: a text and an unnamed label", table({"text": BODIES, "": TOPICS}), (BODIES[0],), "billing", NAMES,
        refused=r"line 1.*name|unnamed|no name",
    ),
    classification(
        "a survey with its questions as names",
        table({"Response ID": list(range(501, 513)), "What could we do better?": BODIES, "Theme (coded)": TOPICS}), (BODIES[0],),
        "billing", NAMES,
    ),
    classification(
        "unnamed empty columns at the end",
        ("v1,v2,,,\n" + "".join(f'{kind},"{text}",,,\n' for kind, text in zip(["ham", "ham", "spam"] * 4, BODIES, strict=True)))
        .encode(),
        (BODIES[0],), "ham", ["ham", "spam"],
    ),
    classification(
        "sentiment of -1, 0 and 1", table({"text": REVIEWS, "sentiment": SIGNS}), (REVIEWS[0],), "1", ["-1", "0", "1"], rows=12,
    ),
    classification(
        "sentiment of -1 and 1", table({"text": REVIEWS, "sentiment": [1, -1]}), (REVIEWS[0],), "1", ["-1", "1"], rows=12,
    ),
    classification(
        "-1 in test data alone", {"train.csv": table({"sentence": REVIEWS, "label": [1, 0]}),
                                  "test.csv": table({"sentence": REVIEWS, "label": -1})},
        (REVIEWS[0],), "1", ["0", "1"], rows=12, unlabelled_test=True,
    ),
    classification(
        "-1 said to be unknown", table({"text": REVIEWS, "sentiment": SIGNS}), (REVIEWS[0],), "1", ["0", "1"],
        options=("--unknown_label=-1",), rows=6,
    ),
    *(
        classification(
            f"{placeholder!r} as the label of a few rows",
            table({"text": BODIES, "label": some(TOPICS * 4, {4: placeholder, 7: placeholder})}), (BODIES[0],), "billing", NAMES,
            rows=10, asked=rf"--unknown_label[ =]'?{placeholder}", answer=(f"--unknown_label={placeholder}",),
        )
        for placeholder in ("nan", "NULL", "N/A", "None")
    ),
    classification(
        "NULL as the label of many rows", table({"text": BODIES, "label": some(TOPICS * 4, dict.fromkeys(range(2, 9), "NULL"))}),
        (BODIES[0],), "billing", rows=5, asked="--unknown_label NULL", answer=("--unknown_label=NULL",),
    ),
    classification(
        "codes with a dot", table({"text": BODIES, "code": ["0901.21", "0902.10", "0903.00"] * 4}), (BODIES[0],), "0901.21",
        ["0901.21", "0902.10", "0903.00"],
    ),
    classification(
        "per cent that are no classes", table({"text": BODIES, "grade": [f"{n + 30} %" for n in range(12)]}),
        refused="look like numbers",
    ),
    classification(
        "the aspect that a sentence is about",
        table({"Sentence": [body for body in BODIES[:6] for _ in range(2)], "Aspect": ["price", "service"] * 6,
               "polarity": ["good", "bad", "bad", "good"] * 3}),
        (BODIES[0], "price"), "good", asked="--text_column_names Sentence,Aspect", answer=names("Sentence", "Aspect"),
    ),
    classification(
        "a name that most rows lack",
        table({"text": BODIES, "product": TOPICS * 4, "tags": some([""] * 12, {3: "old", 7: "new"})}),
        (BODIES[0],), "billing", NAMES,
    ),
    classification(
        "numbers with decimal commas", table({"Text": REVIEWS, "Note": [f"{n:.1f}".replace(".", ",") for n in CLOSENESS]}, ";"),
        (REVIEWS[0],), 4.5,
    ),
    classification(
        "lists of one label", {"train.jsonl": lines({"text": BODIES, "labels": [[topic] for topic in TOPICS]})}, (BODIES[0],),
        "billing", NAMES,
    ),
    classification(
        "a longer URL beside the text", table({"Id": list(range(12)), "Link": URLS, "Remark": TITLES, "Kind": ["lamp", "other"]}),
        (TITLES[0],), "lamp", ["lamp", "other"],
    ),
    classification(
        "nothing but ids, links and a label", table({"Ticket ID": TICKETS, "URL": URLS, "Category": TOPICS}),
        refused=r"(?i)no (column of )?texts?|--text_column_names",
    ),
    classification(
        "a longer id beside the text",
        {"train.csv": table({"qid": [f"{n:040x}" for n in range(12)], "note": TITLES, "target": SAME}),
         "test.csv": table({"qid": [f"{n:040x}" for n in range(20, 32)], "note": TITLES})},
        (TITLES[0],), "1", ["0", "1"], id="qid",
    ),
    *(
        classification(
            f"an id column called {name}",
            {"train.csv": table({name: TICKETS, "text": BODIES, "label": TOPICS}),
             "test.csv": table({name: TICKETS, "text": FIRST})},
            (BODIES[0],), "billing", NAMES, id=name,
        )
        for name in ("ID", "Id", "ticket_id", "Ticket Id")
    ),
    classification(
        "lists of labels, with this script", {"train.jsonl": lines({"text": BODIES, "tags": TAGS})}, (BODIES[0],),
        {"billing", "defect"}, NAMES, asked=r"run_multilabel\.py --label_column_names tags", answer=labels("tags"),
        elsewhere=MULTILABEL,
    ),
    classification(
        "columns of labels, with this script", table({"text": BODIES} | SEVERAL), (BODIES[0],), {"billing", "defect"}, NAMES,
        asked=r"run_multilabel\.py --label_column_names billing,delivery,defect", answer=labels(*NAMES), elsewhere=MULTILABEL,
    ),
    classification(
        "candidates, with this script", {"train.jsonl": lines(QUIZ | {"choices": CANDIDATES, "label": RIGHT})}, QUIZ_TEXTS,
        CANDIDATES[0][0], asked=r"run_multiple_choice\.py", elsewhere=CHOICE,
    ),
]  # fmt: skip

# Several labels: one column each, or one cell with all of them.

EMOTIONS = (
    "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval disgust "
    "embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief remorse sadness "
    "surprise neutral"
).split()
COMMENTS = {
    "text": BODIES,
    "id": [f"eew5j0{n // 3}" for n in range(12)],
    "author": ["Brdd9", "TheGreen888", "Labalool"],
    "subreddit": ["lamps", "kettles"],
    "link_id": [f"t3_ajis4{n // 2}" for n in range(12)],
    "parent_id": [f"t1_eew18e{n}" for n in range(12)],
    "created_utc": [1548381039.0 + 60 * n for n in range(12)],
    "rater_id": [1, 37, 18],
    "example_very_unclear": ["False"] * 11 + ["True"],
}
for place, name in enumerate(EMOTIONS):  # one in most rows, two in some, none where the example is unclear
    COMMENTS[name] = [int(place in ((7 * row + 3) % 28, *[9] * (row % 4 == 1)) and row < 11) for row in range(12)]
MANY_WORDS = ["late delivery; wrong amount", "late delivery", "broken part", "wrong amount; broken part"]
FORM = ["Late delivery, Wrong amount", "Late delivery", "Broken part", "Wrong amount, Broken part"]
TORN = r"(?s)(?=.*(line|row) \d)(?=.*(--label_delimiter|list))|--label_delimiter"
FIRST_TAGS = ((BODIES[0],), {"billing", "defect"}, NAMES)


def cells_of(change: Callable[[list[str]], str], column: str = "labels") -> bytes:
    return table({"text": BODIES, column: [change(tags) for tags in TAGS]})


SEVERAL_CASES = [
    multilabel("tags of StackOverflow", cells_of(lambda tags: "".join(f"<{tag}>" for tag in tags), "Tags"), *FIRST_TAGS),
    multilabel("arrays of PostgreSQL", cells_of(lambda tags: f"{{{','.join(tags)}}}"), *FIRST_TAGS),
    multilabel(
        "yes and no in German",
        table({"Text": BODIES} | {name: [("nein", "ja")[value] for value in values] for name, values in SEVERAL.items()}),
        *FIRST_TAGS, targets=(1, 0, 1),
    ),
    multilabel(
        "one column of marks", table({"text": BODIES, "billing": ["x" if value else "" for value in BILLING]}), (BODIES[0],),
        {"billing"}, ["billing"], options=("--label_column_names=billing",), rows=12,
    ),
    multilabel("0/1 columns", table({"text": BODIES} | SEVERAL), *FIRST_TAGS, targets=(1, 0, 1)),
    multilabel(
        "1 and empty", table({"comment": BODIES} | {name: emptied(values) for name, values in SEVERAL.items()}), *FIRST_TAGS,
        targets=(1, 0, 1),
    ),
    multilabel(
        "x and empty",
        table({"Comment": BODIES} | {name: ["x" * cell for cell in values] for name, values in SEVERAL.items()}, ";"),
        *FIRST_TAGS, targets=(1, 0, 1),
    ),
    multilabel(
        "1 and -1", table({"text": BODIES} | {name: emptied(values, -1) for name, values in SEVERAL.items()}), *FIRST_TAGS,
        targets=(1, 0, 1),
    ),
    multilabel(
        "0, 1 and -1", table({"text": BODIES} | SEVERAL | {"delivery": some(DELIVERY, {0: -1, 5: -1})}), *FIRST_TAGS,
        targets=(1, None, 1),
    ),
    multilabel(
        "0, 1 and a few empty cells", table({"text": BODIES} | SEVERAL | {"delivery": some(DELIVERY, {0: "", 5: ""})}),
        *FIRST_TAGS, targets=(1, None, 1),
    ),
    *(
        multilabel(
            f"{yes} and {no}",
            table({"text": BODIES} | {name: [yes if cell else no for cell in values] for name, values in SEVERAL.items()}),
            *FIRST_TAGS, targets=(1, 0, 1),
        )
        for yes, no in (("yes", "no"), ("Yes", "No"), ("true", "false"), ("TRUE", "FALSE"), ("y", "n"))
    ),
    multilabel(
        "counts of annotators", table({"text": BODIES, "rude": [0, 3, 1, 2], "unfair": [3, 0, 0, 1], "funny": [0, 1, 2, 3]}),
        refused=r"rude|unfair|funny",
    ),
    multilabel(
        "percentages", table({"text": BODIES, "rude": [0, 33, 67, 100], "unfair": [100, 0, 12.5, 50], "funny": [0, 5, 80, 20]}),
        refused=r"rude|unfair|funny",
    ),
    multilabel("a label that every row has", table({"text": BODIES} | SEVERAL | {"spam": 1}), refused=r"spam"),
    multilabel(
        "a label that every row has, of 1 and empty",
        table({"text": BODIES} | {name: emptied(values) for name, values in SEVERAL.items()} | {"spam": 1}), refused=r"spam",
    ),
    multilabel(
        "facts about the row beside the labels",
        table({"ticket_id": TICKETS, "message": BODIES, "is_vip": [0, 0, 1], "has_attachment": [0, 1]} | SEVERAL), *FIRST_TAGS,
        asked=r"--label_column_names \S*billing,delivery,defect", answer=labels(*NAMES), or_read=True,
    ),
    multilabel(
        "emotions, with a column for each and others", table(COMMENTS), (BODIES[0],), {"annoyance"}, EMOTIONS,
        asked=r"--label_column_names \S*admiration,\S*neutral", answer=labels(*EMOTIONS), or_read=True,
    ),
    multilabel(
        "soft targets", table({"comment": BODIES, "rude": [0.83, 0, 1, 0.17], "unfair": [0, 1, 0.5, 0.25]}, ";"), (BODIES[0],),
        {"rude"}, ["rude", "unfair"],
    ),
    multilabel("lists in JSON", {"train.jsonl": lines({"text": BODIES, "tags": some(TAGS, {3: []})})}, *FIRST_TAGS, rows=12),
    multilabel("lists as Python prints them", cells_of(str), *FIRST_TAGS),
    multilabel(
        "facts of ECtHR", {"train.jsonl": lines({"facts": PARTS, "violated": TAGS})}, (" ".join(PARTS[0]),), FIRST_TAGS[1]
    ),
    multilabel("lists as JSON", cells_of(json.dumps), *FIRST_TAGS),
    multilabel("genres of TMDB", cells_of(genres_of), *FIRST_TAGS),
    classification("genres of TMDB in the wrong script", cells_of(genres_of), refused=r"run_multilabel\.py"),
    multilabel("lines of fastText", {"train.txt": fasttext(TAGS)}, *FIRST_TAGS),
    multilabel("tuples as Python prints them", cells_of(lambda tags: str(tuple(tags))), *FIRST_TAGS),
    multilabel("arrays as NumPy prints them", cells_of(lambda tags: f"[{' '.join(map(repr, tags))}]"), *FIRST_TAGS, refused=TORN),
    multilabel("sets as Python prints", cells_of(lambda tags: f"{{{', '.join(map(repr, tags))}}}"), *FIRST_TAGS, refused=TORN),
    multilabel("lists without quotation marks", cells_of(lambda tags: f"[{', '.join(tags)}]"), *FIRST_TAGS, refused=TORN),
    multilabel(
        "choices of Label Studio in a cell",
        cells_of(lambda tags: json.dumps({"choices": tags}) if len(tags) > 1 else tags[0], "topic"), *FIRST_TAGS, refused=TORN,
    ),
    multilabel("a#b", cells_of("#".join), *FIRST_TAGS, refused=TORN),
    multilabel("a / b", cells_of(" / ".join), *FIRST_TAGS, refused=TORN),
    multilabel("a, b", cells_of(", ".join, "Tags"), *FIRST_TAGS),
    multilabel("a;b", cells_of(";".join, "codes"), *FIRST_TAGS),
    multilabel("a|b", cells_of("|".join), *FIRST_TAGS),
    multilabel("a on the line below b", cells_of("\n".join), *FIRST_TAGS, refused=TORN),
    multilabel(
        "labels of two words", table({"text": BODIES, "labels": MANY_WORDS}), (BODIES[0],), {"late delivery", "wrong amount"},
        ["broken part", "late delivery", "wrong amount"],
    ),
    multilabel(
        "checkboxes of a form", table({"Timestamp": DATES, "What happened?": BODIES, "Please tick all that apply": FORM}),
        (BODIES[0],), {"Late delivery", "Wrong amount"}, ["Broken part", "Late delivery", "Wrong amount"],
        asked=r"--label_column_names? ", answer=labels("Please tick all that apply"), or_read=True,
    ),
    multilabel(
        "one label for each text, with this script", table({"text": BODIES, "category": TOPICS}), (BODIES[0],), "billing", NAMES,
        asked=r"run_classification\.py.*category", answer=label("category"), elsewhere=CLASSIFICATION,
    ),
    multilabel(
        "an id in capitals beside labels",
        {"train.csv": table({"ID": TICKETS, "Text": BODIES} | SEVERAL), "test.csv": table({"ID": TICKETS, "Text": FIRST})},
        *FIRST_TAGS, id="ID",
    ),
]  # fmt: skip

# Candidates.

NESTED = [
    {"stem": question, "choices": [{"text": text, "label": letter} for text, letter in zip(row, "ABC", strict=True)]}
    for question, row in zip(ASKED, CANDIDATES, strict=True)
]
COPA = {
    "premise": CONTEXTS,
    "choice1": EACH[0],
    "choice2": EACH[1],
    "question": ["effect", "cause"],
    "label": [0, 1],
    "idx": list(range(8)),
}
TWO = [
    "The lamp did not fit into the box because the _ was too large.",
    "Ada lent Mira her coat because _ was cold.",
    "The dog chased the cat until the _ was tired.",
    "The bread tasted better than the soup because the _ was fresh.",
]
WINOGRANDE = {
    "qID": [f"3QHITW7OYO7Q6B6ISU2UMJB84ZLAQE-{n}" for n in range(4)],
    "sentence": TWO,
    "option1": ["lamp", "Ada", "dog", "bread"],
    "option2": ["box", "Mira", "cat", "soup"],
    "answer": ["1", "2", "1", "1"],
}
SWAG = {
    "": list(range(8)),
    "video-id": [f"anetv_{n}" for n in range(8)],
    "fold-ind": [3416 + n for n in range(8)],
    "startphrase": [f"{one} She" for one in CONTEXTS],
    "sent1": CONTEXTS,
    "sent2": "She",
    "gold-source": ["gold", "gen"],
    "ending0": ["finds a bowl of dough.", "walks to school.", "takes another one.", "begins to sing."],
    "ending1": ["sits on the moon.", "eats the road.", "paints it green.", "sells the hall."],
    "ending2": ["swims home.", "drinks the snow.", "calls the sea.", "feeds a goat."],
    "ending3": ["turns into a key.", "bakes a shelf.", "knits the rails.", "mends a bell."],
    "label": [0, 1, 2, 3, 0, 0, 2, 1],
}
HELLASWAG = {
    "ind": list(range(8)),
    "activity_label": ["Baking", "Winter", "Travel", "Music"],
    "ctx_a": CONTEXTS,
    "ctx_b": "then she",
    "ctx": [f"{one} then she" for one in CONTEXTS],
    "split": "train",
    "split_type": "indomain",
    "label": RIGHT,
    "endings": CANDIDATES,
    "source_id": [f"activitynet~v_{n}" for n in range(8)],
}
MEDICAL = {
    "question": ASKED,
    "exp": CONTEXTS,
    "cop": [position + 1 for position in RIGHT],
    "opa": EACH[0],
    "opb": EACH[1],
    "opc": EACH[2],
    "subject_name": ["Physiology", "Surgery"],
    "topic_name": None,
    "id": [f"45258d3d-b974-44dd-a161-{n:012}" for n in range(8)],
    "choice_type": ["single", "multi"],
}
BOOKS = [
    {"id": f"7-{n}", "question": NESTED[n], "fact1": CONTEXTS[n], "humanScore": "1.00", "answerKey": LETTERS[n]} for n in range(8)
]
KAHOOT = {"Question": ASKED} | {f"Answer {n + 1}": EACH[n] for n in range(3)}
KAHOOT |= {"Time limit": [20, 30], "Correct answer(s)": [position + 1 for position in RIGHT]}
SCIENCE = {"question": ASKED, "distractor1": EACH[1], "distractor2": EACH[2], "correct_answer": EACH[0], "support": CONTEXTS}
ALONE = (ASKED[0], "", *CANDIDATES[0])
CHOICE_CASES = [
    choice(
        "RACE", {"train.jsonl": lines({"example_id": [f"high{n}.txt" for n in range(8)], "article": CONTEXTS, "answer": LETTERS,
                                       "question": ASKED, "options": CANDIDATES})},
        QUIZ_TEXTS, CANDIDATES[0][0],
    ),
    choice(
        "ARC", {"train.jsonl": lines([{"id": f"Mercury_{n}", "question": NESTED[n], "answerKey": LETTERS[n]} for n in range(8)])},
        ALONE, CANDIDATES[0][0],
    ),
    choice("OpenBookQA with a fact", {"train.jsonl": lines(BOOKS)}, ALONE, CANDIDATES[0][0]),
    choice(
        "SWAG", table(SWAG),
        (CONTEXTS[0], "She", "finds a bowl of dough.", "sits on the moon.", "swims home.", "turns into a key."),
        "finds a bowl of dough.",
    ),
    choice("HellaSwag", {"train.jsonl": lines(HELLASWAG)}, (f"{CONTEXTS[0]} then she", "", *CANDIDATES[0]), CANDIDATES[0][0]),
    choice("COPA", {"train.jsonl": lines(COPA)}, (CONTEXTS[0], "effect", EACH[0][0], EACH[1][0]), EACH[0][0]),
    choice("WinoGrande", {"train.jsonl": lines(WINOGRANDE)}, (TWO[0], "", "lamp", "box"), "lamp"),
    choice(
        "Social IQa",
        {"train.jsonl": lines(QUIZ | {"answerA": EACH[0], "answerB": EACH[1], "answerC": EACH[2], "correct": LETTERS})},
        QUIZ_TEXTS, CANDIDATES[0][0],
    ),
    choice(
        "PIQA", {"train.jsonl": lines({"goal": ASKED, "sol1": EACH[0], "sol2": EACH[1], "label": [0, 1]})},
        (ASKED[0], "", EACH[0][0], EACH[1][0]), EACH[0][0],
    ),
    choice(
        "CosmosQA", table({"id": [f"3Q9SPIIRWJKVQ8244310E8TUS6YWAC##{n}" for n in range(8)]} | QUIZ
                          | {f"answer{n}": EACH[n] for n in range(3)} | {"label": RIGHT}),
        QUIZ_TEXTS, CANDIDATES[0][0],
    ),
    choice(
        "questions of an exam",
        {"train.csv": table({"id": list(range(8)), "prompt": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2], "answer": LETTERS}),
         "test.csv": table({"id": list(range(8)), "prompt": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2]})},
        ALONE, CANDIDATES[0][0], id="id",
    ),
    choice(
        "DREAM", {"train.jsonl": lines({"dialogue": PARTS, "question": ASKED, "choice": CANDIDATES, "answer": RIGHT_TEXTS})},
        (" ".join(PARTS[0]), *QUIZ_TEXTS[1:]), CANDIDATES[0][0],
    ),
    choice("QuAIL", {"train.jsonl": lines(QUAIL)}, (*QUIZ_TEXTS[:3], "yes", EACH[2][0]), CANDIDATES[0][0]),
    classification("QuAIL in the wrong script", {"train.jsonl": lines(QUAIL)}, refused="choice_column_names answer_0,answer_1,a"),
    choice("MedMCQA, with an explanation", {"train.jsonl": lines(MEDICAL)}, ALONE, CANDIDATES[0][0]),
    choice(
        "MMLU, without a header", table({"q": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2], "answer": LETTERS}, header=False),
        ALONE, CANDIDATES[0][0], asked=r"--no_header", answer=headless("question", "A", "B", "C", "answer"), or_read=True,
    ),
    choice(
        "a quiz in a spreadsheet", table({"Context": CONTEXTS, "Question": ASKED, "Option A": EACH[0], "Option B": EACH[1],
                                          "Option C": EACH[2], "Correct Answer": LETTERS}, ";"),
        QUIZ_TEXTS, CANDIDATES[0][0],
    ),
    choice(
        "a quiz with numbered answers", table(KAHOOT), ALONE, CANDIDATES[0][0], asked=r"--(choice|label)_column_names? ",
        answer=("--choice_column_names=Answer 1,Answer 2,Answer 3", "--label_column_name=Correct answer(s)"), or_read=True,
    ),
    choice(
        "SciQ: distractors beside the right answer", {"train.jsonl": lines(SCIENCE)},
        (CONTEXTS[0], ASKED[0], EACH[0][0], EACH[1][0], EACH[2][0]), EACH[0][0],
    ),
    choice(
        "options under their letters", {"train.jsonl": lines({"question": ASKED, "options": [dict(zip("ABC", row, strict=True))
                                                              for row in CANDIDATES], "answer": LETTERS})},
        ALONE, CANDIDATES[0][0],
    ),
    choice(
        "positions that may count from 0 or from 1",
        {"train.jsonl": lines({"question": ASKED, "options": CANDIDATES, "answer": [1, 2] * 4})},
        ALONE, CANDIDATES[0][0], asked="--first_position 0, or --first_position 1", answer=("--first_position=1",),
    ),
    choice("candidates as Python prints them", table(QUIZ | {"choices": list(map(str, CANDIDATES)), "answer": RIGHT}), QUIZ_TEXTS,
           CANDIDATES[0][0]),
    choice("candidates as JSON", table(QUIZ | {"options": list(map(json.dumps, CANDIDATES)), "answer": LETTERS}), QUIZ_TEXTS,
           CANDIDATES[0][0]),
    choice(
        "candidates as NumPy prints them",
        table(QUIZ | {"choices": [f"[{' '.join(map(repr, row))}]" for row in CANDIDATES], "answer": RIGHT}), QUIZ_TEXTS,
        CANDIDATES[0][0], refused=r"(line|row) \d.*list",
    ),
    choice(
        "candidates joined by bars", table(QUIZ | {"choices": ["|".join(row) for row in CANDIDATES], "answer": RIGHT}),
        QUIZ_TEXTS, CANDIDATES[0][0], refused=r"(line|row) \d.*list",
    ),
    choice(
        "the right answer's own text", {"train.jsonl": lines(QUIZ | {"candidates": CANDIDATES, "correct_answer": RIGHT_TEXTS})},
        QUIZ_TEXTS, CANDIDATES[0][0],
    ),
    choice(
        "a text and a label, with this script", table({"text": BODIES, "category": TOPICS}), (BODIES[0],), "billing", NAMES,
        asked=r"run_classification\.py --label_column_name category", answer=label("category"), elsewhere=CLASSIFICATION,
    ),
    choice(
        "columns of labels, with this script", table({"text": BODIES} | SEVERAL), *FIRST_TAGS,
        asked=r"run_multilabel\.py --label_column_names billing,delivery,defect", answer=labels(*NAMES), elsewhere=MULTILABEL,
    ),
]  # fmt: skip

# Files: encodings, formats, headers.

SIMPLE = {"text": BODIES, "label": TOPICS}
SIMPLE_MEANT = ((BODIES[0],), "billing", NAMES)
GERMAN = {
    "Nr.": list(range(1, 9)),
    "Eingang": [f"{n + 1:02}.03.2024" for n in range(8)],
    "Text": [
        "Für die Lampe wurden mir 20 € zu viel berechnet.",
        "Das Paket ist seit zwei Wochen überfällig.",
        "Der Deckel der Kanne hat einen Sprung.",
        "Bitte schicken Sie die Rechnung an unsere Buchhaltung.",
        "Der Fahrer hat die Stühle im Regen abgestellt.",
        "Die Uhr am Ofen läuft zu schnell.",
        "Auf meiner Karte fehlt noch die Gutschrift über 15 €.",
        "Wann kommt endlich der bestellte Schrank?",
    ],
    "Kategorie": ["Rechnung", "Lieferung", "Mangel", "Rechnung", "Lieferung", "Mangel", "Rechnung", "Lieferung"],
}
FRENCH = {
    "Commentaire": [
        "La bouilloire fuit après une semaine.",
        "Très belle lampe, merci à toute l'équipe !",
        "Le colis n'est toujours pas arrivé.",
        "Le couvercle est fêlé.",
        "Livré en avance, rien à redire.",
        "Où est passée ma commande ?",
    ],
    "Thème": ["défaut", "éloge", "livraison", "défaut", "éloge", "livraison"],
}
EXTRA = plain({"text": [text if n == 2 else text.replace(",", "") for n, text in enumerate(BODIES)], "label": TOPICS}, ",")
SPLIT = {"columns": list(SIMPLE), "index": list(range(12)), "data": rows_of(SIMPLE)}
SCHEMA = {
    "fields": [{"name": "index", "type": "integer"}, {"name": "text", "type": "string"}, {"name": "label", "type": "string"}],
    "primaryKey": ["index"],
    "pandas_version": "1.4.0",
}
BY_ROW = {str(number): row for number, row in enumerate(objects(SIMPLE))}
BY_COLUMN = {name: {str(n): row[name] for n, row in enumerate(objects(SIMPLE))} for name in SIMPLE}
TWEETS = {"target": ["0", "4"], "id": [str(1467810369 + n) for n in range(12)], "date": "Mon Apr 06 22:19:45 PDT 2009"}
TWEETS |= {"flag": "NO_QUERY", "user": [f"reader{n}" for n in range(12)], "text": FIRST}
HEADER_QUESTION = {"asked": r"--no_header", "or_read": True}
FILE_CASES = [
    classification("tab-separated .txt", {"train.txt": table(SIMPLE, "\t")}, *SIMPLE_MEANT),
    classification("comma-separated .txt", {"train.txt": table(SIMPLE)}, *SIMPLE_MEANT),
    classification("separated by bars", table(SIMPLE, "|"), *SIMPLE_MEANT),
    classification("commas under the ending .tsv", {"train.tsv": table(SIMPLE)}, *SIMPLE_MEANT, refused="comma"),
    classification("an Excel workbook", {"train.xlsx": workbook(SIMPLE)}, *SIMPLE_MEANT, needs="openpyxl"),
    multilabel(
        "an Excel workbook of 1 and empty",
        {"train.xlsx": workbook({"Text": BODIES} | {name: emptied(cells, None) for name, cells in SEVERAL.items()})}, *FIRST_TAGS,
        targets=(1, 0, 1), needs="openpyxl",
    ),
    classification("a zip archive of one table", {"train.zip": archive(train=table(SIMPLE))}, *SIMPLE_MEANT),
    classification(
        "a zip archive of two tables", {"train.zip": archive(spring=table(SIMPLE), summer=table(SIMPLE))},
        refused=r"spring\.csv.*summer\.csv",
    ),
    classification(
        "JSON with the rows under one key", {"train.json": dump({"version": "1.1", "data": objects(SIMPLE)})}, *SIMPLE_MEANT,
        rows=12,
    ),
    classification("JSON with columns", {"train.json": dump({"text": BODIES, "label": TOPICS * 4})}, *SIMPLE_MEANT, rows=12),
    classification("records of pandas", {"train.json": dump(objects(SIMPLE))}, *SIMPLE_MEANT, rows=12),
    classification("columns of pandas", {"train.json": dump(BY_COLUMN)}, *SIMPLE_MEANT, rows=12),
    classification("a split table of pandas", {"train.json": dump(SPLIT)}, *SIMPLE_MEANT, rows=12),
    classification("rows of pandas by their index", {"train.json": dump(BY_ROW)}, *SIMPLE_MEANT, rows=12),
    classification(
        "a table of pandas with a schema",
        {"train.json": dump({"schema": SCHEMA, "data": objects({"index": list(range(12))} | SIMPLE)})}, *SIMPLE_MEANT, rows=12,
    ),
    classification(
        "one JSON of all splits",
        {"data.json": dump({"train": objects(SIMPLE), "validation": objects(SIMPLE)[:6], "test": objects({"text": FIRST})})},
        *SIMPLE_MEANT, rows=12, splits={"train", "validation", "test"},
    ),
    classification(
        "a folder for each class",
        {"reviews": folder_of_classes({"neg": REVIEWS[1::2], "pos": REVIEWS[::2]})}, (REVIEWS[1],), "neg", ["neg", "pos"],
        rows=12,
    ),
    classification("a saved dataset", {"data": saved_dataset(SIMPLE)}, *SIMPLE_MEANT, rows=12),
    classification(
        "a German file of Excel", table(GERMAN, ";", "\r\n", encoding="cp1252"), (GERMAN["Text"][0],), "Rechnung",
        ["Lieferung", "Mangel", "Rechnung"], asked=r"--encoding[ =]cp1252", answer=("--encoding=cp1252",),
    ),
    classification(
        "a French file of Excel", table(FRENCH, ";", "\r\n", encoding="latin-1"), (FRENCH["Commentaire"][0],), "défaut",
        ["défaut", "livraison", "éloge"], asked=r"--encoding[ =]cp1252", answer=("--encoding=cp1252",),
    ),
    classification(
        "UTF-16, as Excel saves Unicode text", {"train.txt": table(GERMAN, "\t", "\r\n", encoding="utf-16")},
        (GERMAN["Text"][0],), "Rechnung", ["Lieferung", "Mangel", "Rechnung"],
    ),
    classification("UTF-16 in a .csv", table(SIMPLE, encoding="utf-16"), *SIMPLE_MEANT),
    classification("a first line sep=;", b"sep=;\r\n" + table(SIMPLE, ";", "\r\n"), *SIMPLE_MEANT, rows=12),
    classification("a byte order mark", b"\xef\xbb\xbf" + table(SIMPLE, ";", "\r\n"), *SIMPLE_MEANT, rows=12),
    classification(
        "a table said to have no header", table(SIMPLE, header=False), *SIMPLE_MEANT, options=headless("text", "label"), rows=12,
    ),
    classification(
        "a table without a header", table(SIMPLE, header=False), *SIMPLE_MEANT, answer=headless("text", "label"), rows=12,
        **HEADER_QUESTION,
    ),
    classification(
        "a table without a header, separated by ;", {"train.txt": plain({"text": FIRST, "emotion": ["joy", "fear"]}, ";", False)},
        (FIRST[0],), "joy", ["fear", "joy"], answer=headless("text", "label"), rows=12, **HEADER_QUESTION,
    ),
    classification(
        "tweets without a header", table(TWEETS, header=False), (FIRST[0],), "0", ["0", "4"],
        answer=headless(*TWEETS) + label("target") + names("text") + ("--problem_type=binary",), rows=12, steps=4,
        **HEADER_QUESTION,
    ),
    classification(
        "encyclopedia articles without a header", table({"class": [1, 2, 3], "title": TITLES, "content": PASSAGES}, header=False),
        (f"{TITLES[0]} {PASSAGES[0]}",), "1", ["1", "2", "3"],
        answer=headless("label", "title", "content") + joined("title", "content"), rows=12, steps=3,
        **HEADER_QUESTION,
    ),
    classification(
        "a comma that should be quoted", EXTRA, (BODIES[0].replace(",", ""),), "billing", NAMES, rows=11, asked=r"line 4",
    ),
]  # fmt: skip

# What annotation tools export.


def studio_task(number: int, text: str, choices: list[str]) -> dict:
    """Return a task as Label Studio exports it."""
    value = {"value": {"choices": choices}, "id": f"x{number}", "from_name": "topic", "to_name": "text", "type": "choices"}
    annotation = {"id": 1700 + number, "completed_by": 1, "result": [value], "was_cancelled": False, "lead_time": 3.25}
    times = {"created_at": "2024-03-01T09:12:44Z", "updated_at": "2024-03-01T09:13:02Z"}
    return {"id": 900 + number, "annotations": [annotation], "data": {"text": text}, "predictions": [], **times, "project": 4}


STUDIO = [studio_task(number, *row) for number, row in enumerate(zip(BODIES, TAGS, strict=True))]
ONE_EACH = [studio_task(number, text, [TOPICS[number % 3]]) for number, text in enumerate(BODIES)]
MINIMAL = {
    "text": BODIES,
    "id": [900 + n for n in range(12)],
    "sentiment": SENTIMENTS,
    "annotator": 1,
    "annotation_id": [1700 + n for n in range(12)],
    "created_at": [f"{day}T09:12:44Z" for day in DATES],
    "updated_at": [f"{day}T09:12:47Z" for day in DATES],
    "lead_time": [3.25, 4.5, 2.75],
}
STUDIO_CELLS = [json.dumps({"choices": tags}) if len(tags) > 1 else tags[0] for tags in TAGS]
PRODIGY = [
    {
        "text": text,
        "_input_hash": 1702378905 + number,
        "_task_hash": -1398293748 - number,
        "options": [{"id": name, "text": name.title()} for name in NAMES],
        "_view_id": "choice",
        "accept": tags,
        "answer": ("accept", "accept", "reject", "accept", "ignore", "accept")[number % 6],
        "_timestamp": 1709284364 + number,
    }
    for number, (text, tags) in enumerate(zip(BODIES, TAGS, strict=True))
]
CATS = [{name: float(name in tags) for name in NAMES} for tags in TAGS]
ARGILLA = [
    {
        "id": f"b5c6f0a{number:x}",
        "fields": {"text": text},
        "metadata": {},
        "suggestions": {},
        "responses": {"topic": [{"value": topic, "user_id": "7f9e1c1d", "status": "submitted"}]},
        "vectors": {},
        "status": "completed",
        "_server_id": f"0c6a{number:x}",
    }
    for number, (text, topic) in enumerate(zip(BODIES, TOPICS * 4, strict=True))
]
OLD_ARGILLA = {
    "text": BODIES,
    "inputs": [{"text": text} for text in BODIES],
    "prediction": None,
    "prediction_agent": None,
    "annotation": some(TOPICS * 4, {5: None}),
    "annotation_agent": "argilla",
    "multi_label": False,
    "id": [f"b5c6f0a{n:x}" for n in range(12)],
    "status": ["Validated"] * 5 + ["Default"] + ["Validated"] * 6,
    "event_timestamp": None,
}
TOOL_CASES = [
    classification(
        "doccano: one label for each text",
        {"train.jsonl": lines({"id": list(range(1, 13)), "text": BODIES, "label": [[name] for name in TOPICS]})},
        *SIMPLE_MEANT,
    ),
    multilabel(
        "doccano: several labels",
        {"train.jsonl": lines({"id": list(range(1, 13)), "text": BODIES, "label": TAGS, "Comments": [[]]})}, *FIRST_TAGS,
    ),
    multilabel(
        "doccano: labels, with meta data",
        {"train.jsonl": lines({"id": list(range(1, 13)), "text": BODIES, "meta": [{"source": "mail"}],
                               "annotation_approver": None, "labels": TAGS})},
        *FIRST_TAGS,
    ),
    multilabel(
        "doccano's CSV", table({"id": list(range(1, 13)), "data": BODIES, "label": ["#".join(tags) for tags in TAGS]}),
        *FIRST_TAGS, refused=TORN,
    ),
    multilabel("Label Studio's JSON", {"train.json": dump(STUDIO)}, *FIRST_TAGS, rows=12),
    classification("Label Studio's JSON, one label for each text", {"train.json": dump(ONE_EACH)}, *SIMPLE_MEANT, rows=12),
    classification(
        "Label Studio's short JSON", {"train.json": dump(objects(MINIMAL))}, (BODIES[0],), "positive", sorted(set(SENTIMENTS)),
        rows=12,
    ),
    multilabel(
        "Label Studio's short JSON, several labels",
        {"train.json": dump([row | {"topic": {"choices": tags} if len(tags) > 1 else tags[0]}
                             for row, tags in zip(objects(without(MINIMAL, "sentiment")), TAGS, strict=True)])},
        *FIRST_TAGS, rows=12,
    ),
    classification(
        "Label Studio's CSV", table(dict(sorted(MINIMAL.items()))), (BODIES[0],), "positive", sorted(set(SENTIMENTS)), rows=12,
    ),
    multilabel(
        "Label Studio's CSV, several labels",
        table(dict(sorted((without(MINIMAL, "sentiment") | {"topic": STUDIO_CELLS}).items()))), *FIRST_TAGS, rows=12,
    ),
    multilabel("Prodigy: choices", {"train.jsonl": lines(PRODIGY)}, *FIRST_TAGS, rows=8),
    classification(
        "Prodigy: one choice",
        {"train.jsonl": lines([row | {"accept": [topic]} for row, topic in zip(PRODIGY, TOPICS * 4, strict=True)])},
        *SIMPLE_MEANT, rows=8,
    ),
    classification(
        "Prodigy: a label to accept or reject",
        {"train.jsonl": lines([without(row, "options", "accept") | {"label": topic, "_view_id": "classification"}
                               for row, topic in zip(PRODIGY, TOPICS * 4, strict=True)])},
        *SIMPLE_MEANT, rows=8,
    ),
    multilabel("spaCy's cats, several labels", {"train.jsonl": lines({"text": BODIES, "cats": CATS})}, *FIRST_TAGS, rows=12),
    classification(
        "spaCy's cats",
        {"train.jsonl": lines({"text": BODIES, "cats": [{name: float(name == topic) for name in NAMES} for topic in TOPICS]})},
        *SIMPLE_MEANT, rows=12,
    ),
    classification("Argilla's records", {"train.json": dump(ARGILLA)}, *SIMPLE_MEANT, rows=12),
    multilabel(
        "Argilla's records, several labels",
        {"train.json": dump([row | {"responses": {"topic": [row["responses"]["topic"][0] | {"value": tags}]}}
                             for row, tags in zip(ARGILLA, TAGS, strict=True)])},
        *FIRST_TAGS, rows=12,
    ),
    classification("Argilla's records before version 2", {"train.jsonl": lines(OLD_ARGILLA)}, *SIMPLE_MEANT, rows=11),
]  # fmt: skip

# Public data sets, as they were published.


def public(script: str, name: str, path: str, file: str, meant: Callable[[], tuple], **more) -> Reading:
    """Return a `Reading` of a public file, whose first lines are written as `file`."""
    wanted = more.pop("lines_wanted", 300)
    files = {file: first(path, wanted)} | {other: first(source) for other, source in more.pop("more_files", {}).items()}
    return Reading(name, script, files, meant=meant, public=path, **more)


def described(path: str, texts: list[str], answer: str) -> Callable[[], tuple]:
    """Return a function that takes what is meant from columns of the first row of a public table."""

    def meant() -> tuple:
        delimiter = ";" if "ethos" in path else ","
        header, row = cells(path, 0, delimiter), cells(path, 1, delimiter)
        return tuple(row[header.index(name)] for name in texts), row[header.index(answer)]

    return meant


def commonsense() -> tuple:
    row = first_object("commonsenseqa/dev_rand_split.jsonl")
    choices = row["question"]["choices"]
    right = next(one["text"] for one in choices if one["label"] == row["answerKey"])
    return (row["question"]["stem"], "", *(one["text"] for one in choices)), right


def candidates_of(path: str, context: str, choices: str) -> Callable[[], tuple]:
    def meant() -> tuple:
        row = first_object(path)
        return (row[context], "", *row[choices]), row[choices][row["label"]]

    return meant


def without_mark(path: str, texts: list[int], answer: int, line: int = 0) -> Callable[[], tuple]:
    """Return a function that takes what is meant from fields of a line of a public file, which is not quoted."""

    def meant() -> tuple:
        found = fields(path, line)
        return tuple(found[place] for place in texts), found[answer]

    return meant


def reuters() -> tuple:
    row = first_object("reuters21578/derived_modapte_r90_train.jsonl.gz")
    return (f"{row['title']} {row['text']}",), set(row["topics"])


def emotions() -> tuple:
    row = first_object("goemotions/train.jsonl.gz")
    return (row["text"],), set(row["labels"])


def ethos() -> tuple:
    header, row = (cells("ethos/Ethos_Dataset_Multi_Label.csv", number, ";") for number in (0, 1))
    return (row[0],), {name for name, cell in zip(header[1:], row[1:], strict=True) if float(cell) >= 0.5}


def hate() -> tuple:
    text, share = cells("ethos/Ethos_Dataset_Binary.csv", 1, ";")
    return (text,), float(share)


def toxic() -> tuple:
    header, row = (cells("jigsaw_toxic/train.csv.gz", number, ",") for number in (0, 1))
    return (row[1],), {name for name, cell in zip(header[2:], row[2:], strict=True) if cell == "1"}


def entailed() -> tuple:
    row = first_object("rte/train.jsonl")
    return (row["premise"], row["hypothesis"]), row["label"]


def articles() -> tuple:
    number, title, text = cells("agnews_subset/test.csv", 0, ",")
    return (f"{title} {text}",), number


COLA = headless("source", "label", "star", "sentence") + names("sentence") + label("label")
HATEFUL = "hate_offensive/labeled_data.csv"
PUBLIC_CASES = [
    public(CLASSIFICATION, "public MRPC", "mrpc/msr_paraphrase_train.txt", "train.txt",
           without_mark("mrpc/msr_paraphrase_train.txt", [3, 4], 0, 1), labels=["0", "1"], rows=299),
    public(CLASSIFICATION, "public SST-2", "sst2/train.tsv.gz", "train.tsv.gz", without_mark("sst2/train.tsv.gz", [0], 1, 1),
           labels=["0", "1"], rows=299),
    public(CLASSIFICATION, "public SST-2 with its test data", "sst2/dev.tsv", "dev.tsv", without_mark("sst2/dev.tsv", [0], 1, 1),
           more_files={"test.tsv": "sst2/test.tsv"}, labels=["0", "1"]),
    public(CLASSIFICATION, "public CoLA", "cola/train.tsv", "train.tsv", without_mark("cola/train.tsv", [3], 1), rows=300,
           answer=COLA, labels=["0", "1"], steps=3, **HEADER_QUESTION),
    public(CLASSIFICATION, "public CoLA with the names of its columns", "cola/train.tsv", "train.tsv",
           without_mark("cola/train.tsv", [3], 1), rows=300, options=COLA, labels=["0", "1"]),
    public(CLASSIFICATION, "public spam", "sms_spam/SMSSpamCollection", "SMSSpamCollection",
           without_mark("sms_spam/SMSSpamCollection", [1], 0), rows=300, answer=headless("label", "text"), labels=["ham", "spam"],
           asked=r"--no_header|format|ending", or_read=True),
    public(CLASSIFICATION, "public spam as .txt", "sms_spam/SMSSpamCollection", "spam.txt",
           without_mark("sms_spam/SMSSpamCollection", [1], 0), rows=300, answer=headless("label", "text"), labels=["ham", "spam"],
           **HEADER_QUESTION),
    public(CLASSIFICATION, "public hate speech", HATEFUL, "labeled_data.csv", described(HATEFUL, ["tweet"], "class"),
           labels=["0", "1", "2"]),
    public(MULTILABEL, "public hate speech as counts of annotators", HATEFUL, "labeled_data.csv", lambda: ((), None),
           refused=r"hate_speech|offensive_language|neither|run_classification\.py|--label_column_names"),
    public(CLASSIFICATION, "public AG news with titles", "agnews_subset/test.csv", "news.csv", articles,
           rows=300, labels=list("1234"), answer=headless("label", "title", "text") + joined("title", "text"), steps=3,
           **HEADER_QUESTION),
    public(CLASSIFICATION, "public AG news", "agnews_subset/train_sample.tsv", "news.tsv",
           without_mark("agnews_subset/train_sample.tsv", [0], 1), rows=300, answer=headless("text", "label"),
           labels=["Business", "Sci/Tech", "Sports", "World"], **HEADER_QUESTION),
    public(CLASSIFICATION, "public Banking77", "banking77/train.csv", "train.csv",
           described("banking77/train.csv", ["text"], "category"), lines_wanted=100_000, rows=10_003),
    public(MULTILABEL, "public Banking77 with the script for several labels", "banking77/train.csv", "train.csv",
           described("banking77/train.csv", ["text"], "category"), asked=r"run_classification\.py.*category",
           answer=label("category"), elsewhere=CLASSIFICATION),
    public(CLASSIFICATION, "public RTE", "rte/train.jsonl", "train.jsonl", entailed, labels=["entailment", "not_entailment"]),
    public(CHOICE, "public CommonsenseQA", "commonsenseqa/dev_rand_split.jsonl", "dev.jsonl", commonsense,
           options=("--allow_equal_candidates",)),
    public(CHOICE, "public HellaSwag", "hellaswag_val/train.jsonl.gz", "train.jsonl.gz",
           candidates_of("hellaswag_val/train.jsonl.gz", "ctx", "endings")),
    public(CHOICE, "public ARC", "arc/ARC-Challenge-train.jsonl", "train.jsonl",
           candidates_of("arc/ARC-Challenge-train.jsonl", "question", "choices")),
    public(CLASSIFICATION, "public ARC with the script for one label", "arc/ARC-Challenge-train.jsonl", "train.jsonl",
           candidates_of("arc/ARC-Challenge-train.jsonl", "question", "choices"), asked=r"run_multiple_choice\.py",
           elsewhere=CHOICE),
    public(CHOICE, "public OpenBookQA", "openbookqa/train.jsonl", "train.jsonl",
           candidates_of("openbookqa/train.jsonl", "question", "choices")),
    public(MULTILABEL, "public GoEmotions", "goemotions/train.jsonl.gz", "train.jsonl.gz", emotions, rows=300),
    public(MULTILABEL, "public Reuters", "reuters21578/derived_modapte_r90_train.jsonl.gz", "train.jsonl.gz", reuters,
           asked=r"--text_column_names title,text", answer=joined("title", "text"), or_read=True),
    public(CLASSIFICATION, "public Ethos", "ethos/Ethos_Dataset_Binary.csv", "train.csv", hate, lines_wanted=1000),
    public(MULTILABEL, "public Ethos with several labels", "ethos/Ethos_Dataset_Multi_Label.csv", "train.csv", ethos,
           lines_wanted=1000),
    public(MULTILABEL, "public toxic comments", "jigsaw_toxic/train.csv.gz", "train.csv.gz", toxic,
           more_files={"test.csv": "jigsaw_toxic/kaggle_test.csv"}, id="id",
           labels=["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]),
    public(CHOICE, "public COPA in XML", "copa/copa-dev.xml", "train.xml", lambda: ((), None), refused=r"\.xml"),
]  # fmt: skip

# Cells that fit two ways, or say something else than they seem to.

SURE = ["pos", "neg"] * 6
TWICE = ["late;refund", "refund", "late", "broken;late"] * 3
NINES = {2: 9, 5: 9}  # a code for unknown
BOTH, LISTED = ["late;rude", "rude", "late"] * 8, [["late"], ["rude", "late"], ["rude"]] * 4
PRICES = [f"{number},28" for number in range(1, 13)]
HALF = {1: "", 5: ""}  # rows without a label
MOODS = ["good", "bad", "mixed"]
TURNED = [MOODS, MOODS[1:] + MOODS[:1], MOODS[2:] + MOODS[:2]] * 4
DOUBTFUL_CASES = [
    classification(
        "two marks for nothing", table({"text": BODIES, "label": some(SURE, {2: "?", 3: "NA", 7: "NA"})}), (BODIES[0],), "pos",
        ["neg", "pos"], rows=9, asked=r"--unknown_label '\?,NA'", answer=("--unknown_label=?,NA",), shown=("1 of 12", "2 of 12"),
    ),
    classification(
        "NA in half of the rows", table({"text": BODIES, "label": ["pos", "NA", "neg", "NA"] * 3}), (BODIES[0],), "pos",
        ["neg", "pos"], rows=6, asked=r"--unknown_label NA", answer=("--unknown_label=NA",),
    ),
    classification(
        "several labels in a cell, of which some never stand alone", table({"text": BODIES, "labels": TWICE}), (BODIES[0],),
        {"late", "refund"}, asked=r"run_multilabel\.py --label_column_names labels", answer=labels("labels"),
        elsewhere=MULTILABEL,
    ),
    classification(
        "classes with a comma in their names", table({"text": BODIES, "label": ["Food, drink", "Books, films", "Toys"]}),
        (BODIES[0],), "Food, drink", ["Books, films", "Food, drink", "Toys"],
    ),
    classification(
        "a fraction among ids", table({"text": SUBJECTS * 2, "label": some([0, 1, 2] * 8, {7: 1.5})}),
        refused=r"found 1\.5 among whole numbers",
    ),
    classification(
        "scores of 0 to 100", table({"text": [f"{text} ({n})" for n in range(9) for text in BODIES], "score": list(range(101))}),
        (f"{BODIES[0]} (0)",), 0.0, asked=r"--problem_type regression", answer=("--problem_type=regression",), steps=1,
    ),
    classification(
        "decimal commas between quotation marks", table({"text": BODIES, "label": ["1,0", "1,5", "2,0", "2,5"]}),
        refused=r"'1,0' may be a number or a list",
    ),
    classification(
        "columns of 0 and 1, and rows without a label",
        table({"text": BODIES, "toxic": some([1, 0] * 6, HALF), "insult": some([0, 1] * 6, HALF)}),
        (BODIES[0],), "toxic", ["insult", "toxic"], rows=10,
    ),
    multilabel(
        "columns of one class each, and rows without a label",
        table({"text": BODIES, "toxic": some([1, 0] * 6, HALF), "insult": some([0, 1] * 6, HALF)}),
        (BODIES[0],), "toxic", ["insult", "toxic"], rows=10, asked=r"in every labelled row.*run_classification\.py",
        answer=label("toxic,insult"), elsewhere=CLASSIFICATION,
    ),
    classification(
        "spans of a text", {"train.jsonl": lines({"text": BODIES, "label": [[[4, 9, "PRODUCT"]], [[0, 3, "PERSON"]]]})},
        refused="token classification",
    ),
    multilabel(
        "labels with a slash between them", table({"text": BODIES, "tags": ["late/refund", "refund", "a/b", "b"]}), (BODIES[0],),
        {"late", "refund"}, ["a", "b", "late", "refund"], asked=r"--label_delimiter /", answer=("--label_delimiter=/",),
    ),
    multilabel(
        "shares", table({"text": BODIES, "toxic": [0, 0.14, 0.29, 0.43], "insult": [0.71, 0.57, 0.86, 0]}), (BODIES[0],),
        {"insult"}, ["insult", "toxic"], asked=r"--label_column_names toxic,insult", answer=labels("toxic", "insult"),
    ),
    multilabel(
        "shares, some of them 1", table({"text": BODIES, "pos": [0.5, 1, 0.25], "neg": [0.5, 0, 0.75]}), (BODIES[0],),
        {"neg", "pos"}, ["neg", "pos"],
    ),
    multilabel(
        "shares without a 0 beside columns of 0 and 1",
        table({"text": BODIES, "toxic": [0.1, 0.9, 0.3, 1], "insult": [1, 0, 0], "threat": [0, 1]}), (BODIES[0],), {"insult"},
        ["insult", "threat", "toxic"], asked=r"--label_column_names insult,threat, or --label_column_names toxic,insult,threat",
        answer=labels("toxic", "insult", "threat"),
    ),
    classification(
        "a scale from -2 to 2", table({"text": BODIES, "sentiment": [-2, -1, 0, 1, 2, 0]}), (BODIES[0],), "-2",
        ["-1", "-2", "0", "1", "2"],
    ),
    classification(
        "thousands and decimal commas", table({"text": BODIES, "price": [f"{n}.241,{n}0" for n in range(1, 13)]}, ";"),
        refused="look like numbers; write plain numbers such as 42 or 4.2",
    ),
    classification(
        "decimal commas and a word", table({"text": BODIES, "price": some(PRICES, {3: "k.A"})}, ";"), (BODIES[0],), 1.28,
        rows=11, asked=r"found 'k\.A' among numbers such as 1\.28; .*--unknown_label k\.A ", answer=("--unknown_label=k.A",),
    ),
    classification(
        "decimal commas and NA", table({"text": BODIES, "price": ["2,28", "NA"]}, ";"), (BODIES[0],), 2.28, rows=6,
        asked="--unknown_label NA; if not, correct the cells", answer=("--unknown_label=NA",),
    ),
    classification(
        "decimal commas, and NA in the test data",
        {"train.csv": table({"text": BODIES, "price": PRICES}, ";"),
         "test.csv": table({"text": SUBJECTS, "price": some(PRICES, {1: "NA"})}, ";")},
        (BODIES[0],), 1.28, asked="--unknown_label NA if that stands for an unknown label", answer=("--unknown_label=NA",),
    ),
    classification(
        "a comma in the validation data alone",
        {"train.csv": table({"text": BODIES, "price": [f"{n}.5" for n in range(12)]}),
         "validation.csv": table({"text": SUBJECTS, "price": some([f"{n}.5" for n in range(12)], {1: "1,5"})})},
        refused=r"line 3, column 'price': found '1,5', expected a number .*; write a point, 1\.5",
    ),
    classification(
        "prices with their unit", table({"text": [f"{t} ({n})" for n in range(2) for t in BODIES],
                                         "price": [f"${n},234.50" for n in range(24)]}),
        refused="look like numbers or dates; write plain numbers",
    ),
    classification(
        "columns of one class each, and NA",
        table({"text": BODIES, "late": some([1, 0] * 6, {3: "NA"}), "rude": some([0, 1] * 6, {3: "NA"})}), (BODIES[0],), "late",
        ["late", "rude"], rows=11, asked="found 'NA' in a column of 0 and 1", answer=("--unknown_label=NA",),
    ),
    multilabel(
        "marks for yes, and NA", table({"text": BODIES, "late": ["x", ""], "rude": some(["", "x"] * 6, {2: "NA"})}),
        (BODIES[0],), {"late"}, ["late", "rude"], targets=(1, 0), rows=12, asked="add --unknown_label NA",
        answer=("--unknown_label=NA",),
    ),
    multilabel(
        "a code for unknown in a few rows", table({"text": BODIES * 2, "late": [0, 1], "rude": some([1, 1, 0] * 8, NINES)}),
        (BODIES[0],), {"rude"}, ["late", "rude"], rows=24, asked="add --unknown_label 9", answer=("--unknown_label=9",),
    ),
    multilabel(
        "NA among the labels of a row", table({"text": BODIES * 2, "labels": some(BOTH, {4: "late;NA"})}),
        refused="found 'NA' among other labels: drop it",
    ),
    multilabel(
        "a list with nothing but NA", {"train.jsonl": lines({"text": BODIES, "labels": some(LISTED, {4: ["NA"]})})},
        (BODIES[0],), {"late"}, ["late", "rude"], rows=11, asked="add --unknown_label NA", answer=("--unknown_label=NA",),
    ),
    multilabel(
        "dashes for nothing among joined labels", table({"text": BODIES * 2, "labels": some(BOTH, {4: "-"})}),
        (BODIES[0],), {"late", "rude"}, ["late", "rude"], rows=23, asked="add --unknown_label -", answer=("--unknown_label=-",),
    ),
    classification(
        "counts of 0 and 1 beside the label",
        table({"text": BODIES, "num_links": [0, 1, 0], "num_images": [1, 0, 0, 0], "spam": [1, 0]}), (BODIES[0],), "1",
        ["0", "1"], asked="--label_column_name spam", answer=label("spam"),
    ),
    multilabel(
        "counts of 0 and 1 beside labels",
        table({"text": BODIES, "likes": [0, 1, 0], "spam": [1, 0], "offer": [1, 1, 0]}), (BODIES[0],), {"spam", "offer"},
        ["offer", "spam"], asked="--label_column_names spam,offer, or", answer=labels("spam", "offer"),
    ),
    classification(
        "names of elements", table({"text": BODIES, "label": ["Na", "K", "Cl"]}), (BODIES[0],), "Na", ["Cl", "K", "Na"],
    ),
    classification(
        "an id of the product beside a score",
        table({"text": BODIES * 2, "ProductId": ["B001", "B002", "B003"], "Score": [5, 4, 1, 2, 3]}),
        (BODIES[0],), "5", ["1", "2", "3", "4", "5"],
    ),
    classification(
        "two labels as ids", {"train.jsonl": lines({"text": BODIES * 2, "coarse_label": [0, 1, 2], "fine_label": [0, 1, 2, 3]})},
        (BODIES[0],), "0", ["0", "1", "2"], asked="--label_column_name coarse_label, or --label_column_name fine_label",
        answer=label("coarse_label"),
    ),
    multilabel(
        "lists of ids beside a score",
        table({"text": BODIES, "labels": ["0,3", "2,27", "5", "1,9"], "score": ["3,5", "2,0"]}, ";"), (BODIES[0],), {"0", "3"},
        options=labels("labels"),
    ),
    multilabel(
        "lists of ids, not in order", table({"text": BODIES, "labels": ["7,2", "9,1", "3"] * 3 + ["1,2,3", "5", "2"]}, ";"),
        (BODIES[0],), {"2", "7"}, options=labels("labels"),
    ),
    multilabel(
        "shares with a comma in several columns",
        table({"text": BODIES, "late": ["0", "0,3", "1"], "rude": ["0,8", "1", "0"]}, ";"), (BODIES[0],), {"rude"},
        ["late", "rude"],
    ),
    multilabel(
        "NA in most rows of a column of 0 and 1", table({"text": BODIES, "toxic": ["NA", 1, "NA", 0], "rude": [0, 1]}),
        (BODIES[0],), set(), ["rude", "toxic"], targets=(0, None), asked="add --unknown_label NA", answer=("--unknown_label=NA",),
    ),
    multilabel(
        "a mark in the validation data alone",
        {"train.csv": table({"text": BODIES, "labels": ["a;b", "a", "b"]}),
         "validation.csv": table({"text": SUBJECTS, "labels": ["a", "NA", "b"]})},
        (BODIES[0],), {"a", "b"}, ["a", "b"], asked=r"with --unknown_label NA", answer=("--unknown_label=NA",),
    ),
    multilabel(
        "fractions with a comma", table({"text": BODIES, "toxic": ["0", "0,5", "1"], "rude": ["0,25", "1", "0"]}),
        options=labels("toxic", "rude"), refused=r"write a fraction with a point, 0\.5",
    ),
    choice(
        "answers by the names of columns", table({"context": CONTEXTS, "question": ASKED, "option1": EACH[0], "option2": EACH[1],
                                                  "option3": EACH[2], "answer": [f"option{r + 1}" for r in RIGHT]}),
        QUIZ_TEXTS, CANDIDATES[0][RIGHT[0]],
    ),
    choice(
        "answers by names of columns, written otherwise", table({
            "context": CONTEXTS, "question": ASKED, "optionA": EACH[0], "optionB": EACH[1], "optionC": EACH[2],
            "answer": [f"Option {letter}" for letter in LETTERS]}),
        QUIZ_TEXTS, CANDIDATES[0][RIGHT[0]],
    ),
    choice(
        "letters for columns in another order", table({
            "context": CONTEXTS, "question": ASKED, "optionA": EACH[0], "optionB": EACH[1], "optionC": EACH[2],
            "answer": LETTERS}),
        QUIZ_TEXTS, CANDIDATES[0][RIGHT[0]], options=("--choice_column_names=optionC,optionB,optionA",),
        asked="--choice_column_names optionA,optionB,optionC", answer=("--choice_column_names=optionA,optionB,optionC",),
    ),
    choice(
        "two columns of answers that disagree", table({
            "context": CONTEXTS, "question": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2], "answer": LETTERS,
            "label": [(r + 1) % 3 for r in RIGHT]}),
        QUIZ_TEXTS, CANDIDATES[0][RIGHT[0]], asked="--label_column_name answer, or --label_column_name label",
        answer=("--label_column_name=answer",),
    ),
    choice(
        "a second column of answers without any", {"train.jsonl": lines({
            "context": CONTEXTS, "question": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2], "answer": None, "label": RIGHT})},
        QUIZ_TEXTS, CANDIDATES[0][RIGHT[0]],
    ),
    choice(
        "none as a candidate, and unknown answers", {"train.jsonl": lines({
            "question": ASKED, "choices": [[*row[:2], "none"] for row in CANDIDATES],
            "answer": some([row[0] for row in CANDIDATES], {1: None, 3: None})})},
        (ASKED[0], "", *CANDIDATES[0][:2], "none"), CANDIDATES[0][0], rows=6,
    ),
    choice(
        "a list with 1 for the right candidate", {"train.jsonl": lines({
            "question": ASKED, "choices": CANDIDATES, "labels": [[int(n == r) for n in range(3)] for r in RIGHT]})},
        (ASKED[0], "", *CANDIDATES[0]), CANDIDATES[0][RIGHT[0]],
    ),
    choice(
        "candidates with decimal commas", table({
            "question": ASKED, "option1": "2,7", "option2": ["6,8", "1,1"], "option3": "4,4",
            "answer": [r + 1 for r in RIGHT]}, ";"),
        (ASKED[0], "", "2,7", "6,8", "4,4"), ("2,7", "6,8", "4,4")[RIGHT[0]],
    ),
    choice(
        "two columns of answers that agree", table({
            "context": CONTEXTS, "question": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2], "answer": LETTERS, "label": RIGHT}),
        QUIZ_TEXTS, CANDIDATES[0][RIGHT[0]],
    ),
    choice(
        "0 for unknown among positions from 1", table({
            "context": CONTEXTS * 2, "question": ASKED * 2, "A": EACH[0] * 2, "B": EACH[1] * 2, "C": EACH[2] * 2,
            "answer": some([r + 1 for r in RIGHT] * 2, {5: 0})}),
        QUIZ_TEXTS, CANDIDATES[0][RIGHT[0]], rows=15, asked="--unknown_label 0", answer=("--unknown_label=0",),
    ),
    choice(
        "letters, and one text", table({
            "context": CONTEXTS, "question": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2],
            "answer": some(LETTERS, {1: RIGHT_TEXTS[1]})}),
        refused="it is the text of a candidate: write all answers in one way",
    ),
    choice(
        "two right answers", table({"question": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2],
                                    "answer": some(LETTERS, {1: "A,B"})}),
        refused="leave the cell empty if the label is unknown",
    ),
    choice(
        "the same candidates in another order", {"train.jsonl": lines({"text": BODIES, "choices": TURNED, "label": [0, 2, 1]})},
        refused="in changing order.*write the right candidate itself",
    ),
    choice(
        "letters among positions", table({"context": CONTEXTS, "question": ASKED, "A": EACH[0], "B": EACH[1], "C": EACH[2],
                                          "answer": some([r + 1 for r in RIGHT], {1: "B"})}),
        refused="the letter 'B' among positions",
    ),
]  # fmt: skip

READINGS = [*PAIRS, *TITLE_CASES, *LABEL_CASES, *SEVERAL_CASES, *CHOICE_CASES, *FILE_CASES, *TOOL_CASES, *DOUBTFUL_CASES]
READINGS += PUBLIC_CASES
