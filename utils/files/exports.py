"""Exports of annotation tools: what is recognised as one, and the plain rows in it."""

import json
import logging
from collections.abc import Callable
from typing import Any

from utils.arguments import UserError, shorten

logger = logging.getLogger(__name__)

Labels = dict[str, list | None]  # of one row: the labels given in each labelling task, None where nobody has given any


def is_export(rows: list) -> bool:
    """Return whether rows are those of an annotation tool."""
    return any(all(map(recognises, rows)) for _, recognises, _ in TOOLS)


def read_export(path: str, rows: list, places: list[str]) -> tuple[list, list[str]]:
    """Return the plain rows in the export of an annotation tool, and their places; any other rows as they are.

    A plain row holds its texts, and `label` or a list of `labels`. Of several labelling tasks each has a column under its name.

    Raises:
        UserError: annotators disagree, or all rows were rejected.
    """
    for tool, recognises, convert in TOOLS:
        if rows and all(map(recognises, rows)):
            logger.info("%s: export of %s", path, tool)
            try:
                converted = convert(rows, places)
            except UserError:
                raise
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise UserError(f"{path} looks like an export of {tool}, but is unlike it inside: {error!r}") from error
            kept = [number for number, row in enumerate(converted) if row is not None]
            if not kept:
                raise UserError(f"{path}: all rows of the export of {tool} were rejected, ignored or discarded")
            if len(kept) < len(rows):
                told = "%s: %s of %s rows are kept; the others are rejected, ignored, discarded, or further answers for a text"
                logger.info(told, path, f"{len(kept):,}", f"{len(rows):,}")
            return [converted[number] for number in kept], [places[number] for number in kept]
    return rows, places


def read_export_columns(path: str, table: dict[str, list], places: list[str]) -> tuple[dict[str, list], list[str]]:
    """Return the columns of a table, with the labels as lists if doccano or Label Studio has written it, and its places."""
    if list(table)[:3] in (["id", "text", "label"], ["id", "data", "label"]) and any(map(_is_joined, table["label"])):
        logger.info('%s: export of doccano; labels are separated by "#"', path)
        labels = [[part for part in cell.split("#") if part] for cell in table["label"]]
        texts = table.get("text") or table["data"]
        return {"id": table["id"], "text": texts, "labels": labels} | dict(list(table.items())[3:]), places
    if {"annotation_id", "lead_time"} <= table.keys():
        parsed = {name: list(map(_parse_choices, cells)) for name, cells in table.items()}
        rows, places = read_export(
            path, [dict(zip(parsed, row, strict=True)) for row in zip(*parsed.values(), strict=True)], places
        )
        return {name: [row[name] for row in rows] for name in rows[0]}, places
    return table, places


def _is_joined(cell: str) -> bool:
    return "#" in cell and all(part.strip() for part in cell.split("#"))


def _parse_choices(cell: str) -> dict | str:
    """Return a cell such as {"choices": ["a", "b"]} as an object, and any other cell as it is."""
    try:
        return json.loads(cell) if cell.startswith('{"choices"') else cell
    except ValueError:
        return cell


def _has(row: Any, *keys: str) -> bool:
    return isinstance(row, dict) and all(key in row for key in keys)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _with_labels(rows: list[dict | None], labels: list[Labels]) -> list[dict | None]:
    """Return `rows` with the labels of each: `label` if no row has two, or else `labels`; several tasks under their names."""
    kept = [(row, each) for row, each in zip(rows, labels, strict=True) if row is not None]
    tasks = list(dict.fromkeys(task for _, each in kept for task in each))
    for task in tasks:
        values = [each.get(task) for _, each in kept]
        single = all(value is None or len(value) <= 1 for value in values)
        name = task if len(tasks) > 1 else "label" if single else "labels"
        if any(name in row for row, _ in kept):
            name = task
        for (row, _), value in zip(kept, values, strict=True):
            row[name] = value if not single else value[0] if value else None
    return rows


def _agreed(place: str, answers: list[list]) -> list | None:
    """Return what all annotators of a row answered, None without an answer. Raises a `UserError` if they disagree."""
    different = list({json.dumps(sorted(map(str, answer))): answer for answer in answers}.values())
    if len(different) > 1:
        found = ", ".join(map(repr, different[:3]))
        raise UserError(f"{place}: annotators disagree: {found}; settle it in the tool, or export one annotation for each text")
    return different[0] if different else None


def _without(row: dict, keys: set[str]) -> dict:
    return {name: value for name, value in row.items() if name not in keys and not name.startswith("_")}


# --- doccano ---

DOCCANO = {"label", "labels", "Comments"}


def _is_doccano(row: Any) -> bool:
    if not _has(row, "id", "text") and not (_has(row, "id", "data") and isinstance(row["data"], str)):  # `data` in version 1.5
        return False
    return _is_list_of_texts(row.get("label")) or ("Comments" in row and _is_list_of_texts(row.get("labels")))


def _from_doccano(rows: list[dict], places: list[str]) -> list[dict | None]:
    plain = [
        {"text" if name == "data" and "text" not in row else name: value for name, value in row.items() if name not in DOCCANO}
        for row in rows
    ]
    return _with_labels(plain, [{"label": row["label"] if "label" in row else row["labels"]} for row in rows])


# --- Label Studio ---

LABEL_STUDIO = {"annotation_id", "annotator", "created_at", "updated_at", "lead_time", "agreement"}  # what it adds to a row


def _is_label_studio(row: Any) -> bool:
    return _has(row, "data") and isinstance(row["data"], dict) and isinstance(row.get("annotations"), list)


def _from_label_studio(rows: list[dict], places: list[str]) -> list[dict | None]:
    labels: list[Labels] = []
    for row, place in zip(rows, places, strict=True):
        answers: dict[str, list[list]] = {}
        for annotation in row["annotations"]:
            if not annotation.get("was_cancelled"):
                for part in annotation["result"]:
                    if part.get("type") in ("choices", "rating", "number"):
                        value = part["value"][part["type"]]
                        answers.setdefault(str(part["from_name"]), []).append(value if isinstance(value, list) else [value])
        labels.append({task: _agreed(place, given) for task, given in answers.items()})
    plain = [{"id": row["id"], **row["data"]} if "id" in row else dict(row["data"]) for row in rows]
    return _with_labels(plain, labels)


def _is_label_studio_min(row: Any) -> bool:
    return _has(row, "annotation_id", "lead_time")


def _from_label_studio_min(rows: list[dict], places: list[str]) -> list[dict | None]:
    first: dict[str, dict] = {}
    plain: list[dict | None] = []
    for row, place in zip(rows, places, strict=True):
        row = {name: _choices_in(value) for name, value in _without(row, LABEL_STUDIO).items()}
        known = first.setdefault(str(row.get("id", place)), row)
        for name, value in row.items():  # a task has a row for each of its annotations
            if known.get(name) != value:
                _agreed(f"{place}, {name!r}", [_as_list(known.get(name)) or [], _as_list(value) or []])
        plain.append(row if known is row else None)
    tasks = {name for row in plain for name, value in (row or {}).items() if isinstance(value, list)}
    labels = [{task: None if row is None else _as_list(row.get(task)) for task in tasks} for row in plain]
    return _with_labels([None if row is None else _without(row, tasks) for row in plain], labels)


def _choices_in(value: Any) -> Any:
    return value["choices"] if _has(value, "choices") else value


def _as_list(value: Any) -> list | None:
    return None if value in (None, "") else value if isinstance(value, list) else [value]


# --- Prodigy ---

PRODIGY = {"answer", "accept", "options", "label", "config", "meta", "spans", "tokens", "priority", "score"}


def _is_prodigy(row: Any) -> bool:
    return (
        _has(row, "text", "answer") and row["answer"] in ("accept", "reject", "ignore") and ("options" in row or "label" in row)
    )


def _from_prodigy(rows: list[dict], places: list[str]) -> list[dict | None]:
    if any("options" in row for row in rows):
        plain = [_without(row, PRODIGY) if row["answer"] == "accept" else None for row in rows]
        return _with_labels(plain, [{"label": _accepted(row)} for row in rows])
    asked = list(dict.fromkeys(str(row["label"]) for row in rows))
    if len(asked) > 1 and len({row["text"] for row in rows}) == len(rows):  # one question about each text: a label, or not
        plain = [_without(row, PRODIGY) | {"label": str(row["label"])} for row in rows]
        return [new if row["answer"] == "accept" else None for new, row in zip(plain, rows, strict=True)]
    if len(asked) == 1:
        logger.info("label is 1 where %s was accepted, and 0 where it was rejected", asked[0])
    return _merge_questions(rows, places, {label: "label" if len(asked) == 1 else label for label in asked})


def _merge_questions(rows: list[dict], places: list[str], names: dict[str, str]) -> list[dict | None]:
    """Return a row for each text, with a column for each label, as in `names`: 1 accepted, 0 rejected, None not asked."""
    merged: dict[str, dict] = {}
    plain: list[dict | None] = []
    for row, place in zip(rows, places, strict=True):
        if row["answer"] == "ignore":
            plain.append(None)
            continue
        new = row["text"] not in merged
        known = merged.setdefault(row["text"], _without(row, PRODIGY) | dict.fromkeys(names.values()))
        name, value = names[str(row["label"])], int(row["answer"] == "accept")
        if known[name] not in (None, value):
            raise UserError(f"{place}: {row['label']!r} is both accepted and rejected for one text: keep one of the two rows")
        known[name] = value
        plain.append(known if new else None)
    return plain


def _accepted(row: dict) -> list | None:
    texts = {option["id"]: option.get("text") for option in row.get("options", [])}
    return [label if isinstance(label, str) else texts.get(label) or str(label) for label in row.get("accept", [])]


# --- spaCy ---


def _is_spacy(row: Any) -> bool:
    if isinstance(row, list):
        return len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict) and isinstance(row[1].get("cats"), dict)
    return _has(row, "text") and isinstance(_cats(row), dict)


def _cats(row: dict) -> Any:
    return row["annotations"].get("cats") if _has(row.get("annotations"), "cats") else row.get("cats")


def _from_spacy(rows: list, places: list[str]) -> list[dict | None]:
    plain = []
    for row, place in zip(rows, places, strict=True):
        row = {"text": row[0], **row[1]} if isinstance(row, list) else row
        kept, cats = _without(row, {"cats", "annotations", "entities"}), _cats(row)
        if kept.keys() & cats.keys():
            raise UserError(f"{place}: {shorten(list(kept.keys() & cats.keys()))} is a label and a field: rename one of the two")
        plain.append({**kept, **{label: float(value) for label, value in cats.items()}})
    return plain


# --- Argilla ---


def _is_argilla(row: Any) -> bool:
    if _has(row, "annotation", "status") and row["status"] in ("Validated", "Default", "Discarded", "Edited"):
        return any(field in row for field in ("text", "inputs", "fields"))
    return _has(row, "fields", "responses") and isinstance(row["fields"], dict) and isinstance(row["responses"], (dict, list))


def _from_argilla(rows: list[dict], places: list[str]) -> list[dict | None]:
    plain: list[dict | None] = []
    labels: list[Labels] = []
    for row, place in zip(rows, places, strict=True):
        fields = row.get("fields") or row.get("inputs") or {"text": row.get("text")}
        fields = {"text": fields} if isinstance(fields, str) else fields
        discarded = str(row.get("status")).lower() == "discarded"
        plain.append(None if discarded else {"id": row["id"], **fields} if row.get("id") is not None else dict(fields))
        if "annotation" in row:
            labels.append({"label": _as_list(row["annotation"])})
        else:
            answers = {} if discarded else _responses(row["responses"])
            labels.append({task: _agreed(place, given) for task, given in answers.items()})
    return _with_labels(plain, labels)


def _responses(responses: dict | list) -> dict[str, list[list]]:
    """Return the submitted answers to each question of a record: by question, or as older versions have it by annotator."""
    if isinstance(responses, list):
        pairs = [
            (task, {**answer, "status": response.get("status")})
            for response in responses
            for task, answer in (response.get("values") or {}).items()
        ]
    else:
        pairs = [(task, answer) for task, given in responses.items() for answer in given or []]
    found: dict[str, list[list]] = {}
    for task, answer in pairs:
        if answer.get("status") in (None, "submitted"):
            found.setdefault(task, []).append(_as_list(answer["value"]) or [])
    return found


Convert = Callable[[list, list[str]], list[dict | None]]  # (rows, places) -> rows, None for those to leave out
TOOLS: tuple[tuple[str, Callable[[Any], bool], Convert], ...] = (
    ("Label Studio", _is_label_studio, _from_label_studio),
    ("Label Studio (JSON-MIN)", _is_label_studio_min, _from_label_studio_min),
    ("Prodigy", _is_prodigy, _from_prodigy),
    ("Argilla", _is_argilla, _from_argilla),
    ("spaCy", _is_spacy, _from_spacy),
    ("doccano", _is_doccano, _from_doccano),
)
