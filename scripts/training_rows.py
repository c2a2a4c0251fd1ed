"""Makes the rows that heads are trained and validated on, of the public sets in data/ and of our own prompts.

Writes FOLDER/HEAD/train/SOURCE.jsonl, and FOLDER/HEAD/{in-source,foreign-source,foreign-language}/SOURCE.jsonl with
rows that are left out of training: some of each source, whole sources, and whole languages. models/plan.yaml names the
folders. The same input gives the same rows.

usage: training_rows.py DATA OWN FOLDER
"""

import collections
import hashlib
import pathlib
import random
import sys
from collections.abc import Callable, Iterable

import distortions
from json_lines import read, write

# Languages of which no public row is trained on, to see how a head does in one that it has not met.
LEFT_OUT_LANGUAGES = {"vi", "uk", "el", "ro", "sw"}

# Longest text, in characters: the encoder reads 256 tokens.
LONGEST = 4000

TASKS_OF_DOLLY = {
    "brainstorming": "Brainstorming",
    "classification": "Classification",
    "closed_qa": "Closed QA",
    "creative_writing": "Text Generation",
    "general_qa": "Open QA",
    "information_extraction": "Extraction",
    "open_qa": "Open QA",
    "summarization": "Summarization",
}

# Sources whose rows are validated on only.
FOREIGN = {
    "task": {"topical_chat_opener", "svamp", "gpteacher_codegen", "nlu_home", "mtrag_fiqa", "trec_cast_2022"},
    "domain": {
        "exams/Economics Basics (Theoretical)",
        "exams/Informatics",
        "gaokao/Physics",
        "medquad/treatment",
        "medquad/symptoms",
        "lawbench/3-1",
        "lawbench/2-5",
    },
    "safety": {"cyberseceval_frr", "dangerousqa", "fuzzyai_benign", "harmfulqa", "trustllm_jailbreak"},
}

# The share of a source's rows that is validated on. Harmless twins of harmful requests are the hardest: more of them.
IN_SOURCE = {"coconot_contrast": 0.25, "cyberseceval_frr_mt": 0.25}
IN_SOURCE_OF_OTHERS = 0.05

# The most rows of a source and label: large sets would take all the time. Sets that models wrote to a pattern, or whose
# labels are weak, have fewer.
MOST = {
    "aart": 350,
    "belle_eval": 100,
    "benign-task_prompts": 2200,
    "catqa": 500,
    "chatterbot": 500,
    "coconot_contrast": 1000,
    "cyberseceval_pi_mt": 350,
    "dolly": 600,
    "exams/Physics": 500,
    "garak_phrasing": 250,
    "humaneval_xl": 400,
    "jbb_artifacts": 300,
    "latent_jailbreak": 150,
    "mmlu_pro": 350,
    "multijail": 1500,
    "opentriviaqa/history": 350,
    "openai_moderation": 300,
    "safety_train": 1000,
    "smalltalk": 500,
    "trustllm_misuse": 400,
    "xquad": 500,
    "xsafety": 600,
}
MOST_OF_OTHERS = 700

# Sets about something else of which this many rows are harmless, and have no personal data.
BENIGN = {"task_prompts": 3000, "followup_turns": 1200, "domain_questions": 1200, "ifeval": 300}
WITHOUT_PERSONAL_DATA = {"domain_questions": 500, "gsm8k_train": 200}

# The shares of our own prompts that are trained on in another way of writing, and behind an unrelated message, too.
DISTORTED = 0.3
SHIFTED = 0.25

PII = {
    "PERSON": "name",
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "STREET_ADDRESS": "address",
    "CREDIT_CARD": "id",
    "IBAN_CODE": "id",
    "US_SSN": "id",
    "US_DRIVER_LICENSE": "id",
}


def rank(text: str) -> str:
    """An order of rows that looks random and is the same each time."""
    return hashlib.sha256(text.encode()).hexdigest()


def chance(text: str) -> float:
    """A number from 0 to 1 that looks random and is the same each time."""
    return int(rank("chance" + text)[:8], 16) / 16**8


class Rows:
    """The rows of one head, by set and source."""

    def __init__(self, head: str, folder: pathlib.Path):
        self.head, self.folder = head, folder
        self.sets = collections.defaultdict(list)

    def add(self, source: str, row: dict, text: str, label: object, context: list[str] = ()) -> None:
        """Adds a row, unless its text is empty or far longer than what is read."""
        if not text or not text.strip() or len(text) > LONGEST:
            return
        lang = row.get("lang", "en")
        which = "train"
        if source in FOREIGN.get(self.head, ()):
            which = "foreign-source"
        elif lang in LEFT_OUT_LANGUAGES and not source.startswith("own"):
            which = "foreign-language"
        elif chance(text) < IN_SOURCE.get(source, IN_SOURCE_OF_OTHERS) and not source.startswith("own"):
            which = "in-source"
        made = {"text": text, "label": label, "lang": lang, "source": source}
        if context:
            made["context"] = list(context)
        self.sets[which, source].append(made)

    def write(self) -> None:
        """Writes the files, with no more rows of a source and label than its limit."""
        for (which, source), rows in self.sets.items():
            most = MOST.get(source, MOST_OF_OTHERS)
            counts, kept = collections.Counter(), []
            for row in sorted(rows, key=lambda row: rank(row["text"])):
                counts[str(row["label"])] += 1
                if counts[str(row["label"])] <= most:
                    kept.append(row)
            path = self.folder / self.head / which / f"{source.replace('/', '-').replace(' ', '-')}.jsonl"
            write(path, kept)


def user_turns(row: dict) -> list[str]:
    """What the user said, the last last."""
    return [turn["content"] for turn in row["turns"] if turn["role"] == "user"]


def task_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """What a prompt asks to do."""
    for row in read(data / "dolly_train.jsonl"):
        rows.add("dolly", row, row["text"], TASKS_OF_DOLLY[row["label"]])
    for row in read(data / "task_prompts.jsonl"):
        if row["label"] and row["conf"] != "weak":
            rows.add(row["source"].split("/")[0], row, row["text"], row["label"])
    for row in read(data / "multilingual_tasks.jsonl"):
        if row["label"]:
            rows.add("xquad" if row["label"] == "Closed QA" else "llmzoo", row, row["text"], row["label"])
    # A question that depends on what was asked before; Closed QA where it is about a text that the user has given.
    for row in read(data / "followup_turns.jsonl"):
        if row.get("label") != "follow-up question":
            continue
        *earlier, last = user_turns(row)
        rows.add(row["source"], row, last, "Open QA", earlier[-2:])
        if row.get("standalone"):
            rows.add(row["source"] + "-standalone", row, row["standalone"], "Open QA")
    variants(own, rows, ["task/train", "followups/train.jsonl", "agents.jsonl"], lambda row: row["label"])


def own_rows(own: pathlib.Path, folders: Iterable[str]) -> list[dict]:
    """Our own rows in files or folders."""
    return [row for folder in folders for row in read(own / folder)]


def variants(own: pathlib.Path, rows: Rows, folders: Iterable[str], label: Callable[[dict], object]) -> None:
    """Our own prompts, written in another way, and behind earlier messages on something else, which change no label."""
    others = own_rows(own, ["task/train", "domain/train"])
    for row in own_rows(own, folders):
        if len(row["text"]) >= LONGEST:
            continue
        chances = random.Random(row["text"])
        if chance(row["text"]) < DISTORTED:
            text = distortions.distort(row["text"], chances.choice(distortions.WAYS))
            rows.add("own-distorted", row, text, label(row), row.get("context", []))
        if chance("shift" + row["text"]) < SHIFTED and not row.get("context"):
            earlier = chances.sample(others, chances.choice((1, 1, 2)))
            if all(it["label"] != row["label"] for it in earlier):
                rows.add("own-shifted", row, row["text"], label(row), [it["text"] for it in earlier])


def domain_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """Which field of knowledge a good answer needs."""
    for row in read(data / "domain_questions.jsonl"):
        if "(" not in row["domain"]:
            rows.add(row["source"], row, row["text"], row["domain"])
    for row in read(data / "winrate_mmlu_pro.jsonl"):
        rows.add("mmlu_pro", row, row["text"], row["domain"])
    variants(own, rows, ["domain/train"], lambda row: row["label"])


def safety_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """Whether a prompt asks for harm, or carries instructions of somebody else."""
    for row in read(data / "safety_train.jsonl"):
        rows.add("safety_train", row, row["text"], row["label"])
    for row in read(data / "safety_public.jsonl"):
        source = row["source"].split("/")[0]
        # What stands in a document or a tool's result is an injection; what the user says is a jailbreak.
        label = "injection" if source.startswith("bipia") and row["label"] == "jailbreak" else row["label"]
        if "(weak)" not in (row.get("category") or ""):
            rows.add(source, row, row["text"], label)
    for name, most in BENIGN.items():
        benign = [row for row in read(data / f"{name}.jsonl") if row.get("source") != "hh_rlhf_harmless_test"]
        for row in sorted(benign, key=lambda row: rank(row.get("text") or user_turns(row)[-1]))[:most]:
            if "turns" in row:
                *earlier, last = user_turns(row)
                rows.add(f"benign-{name}", row, last, "benign", earlier[-2:])
            else:
                rows.add(f"benign-{name}", row, row["text"], "benign")
    files = ["train", "benign", "injections", "jailbreaks", "lookalikes", "twins"]
    variants(own, rows, [f"safety/{file}.jsonl" for file in files], lambda row: row["label"])
    variants(own, rows, ["task/train"], lambda row: "benign")


def pii_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """Which kinds of personal data a prompt has."""
    for row in read(data / "pii_train.jsonl"):
        kinds = {PII[span["type"]] for span in row["spans"] if span["type"] in PII}
        rows.add("presidio", row, row["text"], sorted(kinds))
    # Public questions of which hardly any has personal data.
    for name, most in WITHOUT_PERSONAL_DATA.items():
        for row in sorted(read(data / f"{name}.jsonl"), key=lambda row: rank(row["text"]))[:most]:
            rows.add(f"none-{name}", row, row["text"], [])


def main() -> None:
    """Makes the rows of all heads."""
    data, own, folder = map(pathlib.Path, sys.argv[1:])
    for head, make in (("task", task_rows), ("domain", domain_rows), ("safety", safety_rows), ("pii", pii_rows)):
        rows = Rows(head, folder)
        make(data, own, rows)
        rows.write()


if __name__ == "__main__":
    main()
