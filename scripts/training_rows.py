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

# Sources that we labelled, whose rows are validated on only.
FOREIGN_LABELLED = {"biggen_bench", "koala_test", "oasst_en_100", "oasst_prompt_lottery"}

# The share of a source's rows that is validated on. Harmless twins of harmful requests are the hardest: more of them.
IN_SOURCE = {"coconot_contrast": 0.25, "cyberseceval_frr_mt": 0.25}
IN_SOURCE_OF_OTHERS = 0.05

# The most rows of a source and label: large sets would take all the time. Sets that models wrote to a pattern, or whose
# labels are weak, have fewer.
MOST = {
    "aart": 350,
    "asdiv": 150,
    "belle_eval": 100,
    "benign-task_prompts": 2200,
    "catqa": 500,
    "chatterbot": 500,
    "coconot_contrast": 1000,
    "cyberseceval_pi_mt": 350,
    "dolly": 600,
    "exams/Physics": 500,
    "code_alpaca_2k": 350,
    "garak_phrasing": 250,
    "humaneval_xl": 400,
    "jbb_artifacts": 300,
    "latent_jailbreak": 150,
    "llm_scores_9models": 1200,
    "mawps": 150,
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

# The shares of public rows that are written in another way, and behind an unrelated message, and the shares of our own
# prompts that are trained on in these ways, too.
PUBLIC_DISTORTED = 0.3
PUBLIC_SHIFTED = 0.3
DISTORTED = 0.6
SHIFTED = 0.45
# The share of the other ways of writing that are a prompt behind a system prompt: clients do that most.
PREAMBLES = 0.45

# The files with prompts that models/data/public_labels.jsonl has labels for, and their fields with the prompts.
LABELLED = {
    "dolly_train": "text",
    "domain_questions": "text",
    "followup_turns": "standalone",
    "llm_scores_9models": "question",
    "self_instruct": "text",
    "task_prompts": "text",
}

# Public sets without a task, which models/data/public_labels.jsonl adds where it is clear.
WITH_OUR_TASKS = {
    "belle_seeds",
    "biggen_bench",
    "koala_test",
    "llm_scores_9models",
    "oasst_en_100",
    "oasst_prompt_lottery",
    "plexpt_questions",
    "ru_alpaca_seeds",
    "self_instruct",
}

# Sources that are all of one domain.
DOMAINS = {"asdiv": "math", "code_alpaca_2k": "computer science", "mawps": "math", "smalltalk": "other"}

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


def another_way(text: str, chances: random.Random, preambles: list[str]) -> str:
    """The text as another user would type it, or behind the system prompt of a client."""
    if chances.random() < PREAMBLES:
        return chances.choice(preambles) + "\n\n" + text
    return distortions.distort(text, chances.choice(distortions.TYPED))


def own_rows(own: pathlib.Path, folders: Iterable[str]) -> list[dict]:
    """Our own rows in files or folders."""
    return [row for folder in folders for row in read(own / folder)]


class Rows:
    """The rows of one head, by set and source."""

    def __init__(self, head: str, folder: pathlib.Path, own: pathlib.Path):
        self.head, self.folder = head, folder
        self.preambles = [row["text"] for row in read(own / "preambles.jsonl")]
        # What users said before about something else.
        self.earlier = own_rows(own, ["domain/train" if head == "domain" else "task/train"])
        self.sets = collections.defaultdict(list)

    def add(self, source: str, row: dict, whose: str = "") -> None:
        """Adds a row, unless its text is empty or far longer than what is read. `whose` marks sets that we labelled."""
        text, label, lang, context = row["text"], row["label"], row.get("lang", "en"), row.get("context", [])
        if not text or not text.strip() or len(text) > LONGEST:
            return
        which = "train"
        if source in FOREIGN.get(self.head, ()) or source in FOREIGN_LABELLED:
            which = "foreign-source"
        elif lang in LEFT_OUT_LANGUAGES and not source.startswith("own"):
            which = "foreign-language"
        elif chance(text) < IN_SOURCE.get(source, IN_SOURCE_OF_OTHERS) and not source.startswith("own"):
            which = "in-source"
        # Other ways of writing could hide personal data, or make some of nothing.
        if which == "train" and self.head != "pii" and not source.startswith("own"):
            chances = random.Random("way" + text)
            if chances.random() < PUBLIC_DISTORTED:
                text = another_way(text, chances, self.preambles)
            if chances.random() < PUBLIC_SHIFTED and not context:
                earlier = chances.sample(self.earlier, chances.choice((1, 1, 2)))
                context = [it["text"] for it in earlier if it["label"] != label]
        made = {"text": text, "label": label, "lang": lang, "source": source}
        if context:
            made["context"] = context
        self.sets[which + whose, source].append(made)

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


def labelled_rows(data: pathlib.Path, own: pathlib.Path) -> Iterable[tuple[str, dict, str, dict]]:
    """Rows of public sets for which we have labels: the source, the row, the text, and the labels."""
    labels = {row["sha256"]: row for row in read(own / "public_labels.jsonl")}
    for name, text_field in LABELLED.items():
        for row in read(data / f"{name}.jsonl"):
            text = row.get(text_field)
            if text and (found := labels.pop(rank(text)[:16], None)):
                of_parts = name in ("domain_questions", "task_prompts")
                source = row["source"].split("/")[0] if of_parts else name.removesuffix("_train")
                yield source, row, text, found


def task_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """What a prompt asks to do."""
    for row in read(data / "dolly_train.jsonl"):
        rows.add("dolly", {"text": row["text"], "label": TASKS_OF_DOLLY[row["label"]]})
    for row in read(data / "task_prompts.jsonl"):
        if row["label"] and row["conf"] != "weak":
            rows.add(row["source"].split("/")[0], row)
    for row in read(data / "multilingual_tasks.jsonl"):
        if row["label"]:
            rows.add("xquad" if row["label"] == "Closed QA" else "llmzoo", row)
    # A question that depends on what was asked before; Closed QA where it is about a text that the user has given.
    for row in read(data / "followup_turns.jsonl"):
        if row.get("label") != "follow-up question":
            continue
        *earlier, last = user_turns(row)
        rows.add(row["source"], {"text": last, "label": "Open QA", "context": earlier[-2:]})
        if row.get("standalone"):
            rows.add(row["source"] + "-standalone", {"text": row["standalone"], "label": "Open QA"})
    for source, row, text, found in labelled_rows(data, own):
        # Bare statements in examinations are questions; from users, they are small talk.
        is_bare = source == "llm_scores_9models" and found.get("task") == "Open QA" and "?" not in text
        if source in WITH_OUR_TASKS and "task" in found and not is_bare:
            rows.add(source, {"lang": row.get("lang", "en"), "text": text, "label": found["task"]}, "-labelled")
    variants(
        own, rows, ["task/train", "followups/train.jsonl", "agents.jsonl", "pairs.jsonl"], lambda row: row["label"]
    )


def variants(own: pathlib.Path, rows: Rows, folders: Iterable[str], label: Callable[[dict], object]) -> None:
    """Our own prompts, written in another way, and behind earlier messages on something else, which change no label."""
    others = own_rows(own, ["task/train", "domain/train"])
    for row in own_rows(own, folders):
        if len(row["text"]) >= LONGEST:
            continue
        chances = random.Random(row["text"])
        if chance(row["text"]) < DISTORTED:
            text = another_way(row["text"], chances, rows.preambles)
            rows.add("own-distorted", row | {"text": text, "label": label(row)})
        if chance("shift" + row["text"]) < SHIFTED and not row.get("context"):
            earlier = chances.sample(others, chances.choice((1, 1, 2)))
            if all(it["label"] != label(row) for it in earlier):
                rows.add("own-shifted", row | {"label": label(row), "context": [it["text"] for it in earlier]})


def domain_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """Which field of knowledge a good answer needs."""
    for row in read(data / "domain_questions.jsonl"):
        if "(" not in row["domain"]:
            rows.add(row["source"], row | {"label": row["domain"]})
    for row in read(data / "winrate_mmlu_pro.jsonl"):
        rows.add("mmlu_pro", row | {"label": row["domain"]})
    for row in read(data / "task_prompts.jsonl"):
        if domain := DOMAINS.get(row["source"]):
            rows.add(row["source"], row | {"label": domain}, "-labelled")
    for source, row, text, found in labelled_rows(data, own):
        if "domain" in found:
            rows.add(source, {"lang": row.get("lang", "en"), "text": text, "label": found["domain"]}, "-labelled")
    variants(own, rows, ["domain/train"], lambda row: row["label"])
    variants(own, rows, ["pairs.jsonl"], lambda row: row["domain"])


def safety_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """Whether a prompt asks for harm, or carries instructions of somebody else."""
    for row in read(data / "safety_train.jsonl"):
        rows.add("safety_train", row)
    for row in read(data / "safety_public.jsonl"):
        source = row["source"].split("/")[0]
        # What stands in a document or a tool's result is an injection; what the user says is a jailbreak.
        label = "injection" if source.startswith("bipia") and row["label"] == "jailbreak" else row["label"]
        if "(weak)" not in (row.get("category") or ""):
            rows.add(source, row | {"label": label})
    for name, most in BENIGN.items():
        benign = [row for row in read(data / f"{name}.jsonl") if row.get("source") != "hh_rlhf_harmless_test"]
        for row in sorted(benign, key=lambda row: rank(row.get("text") or user_turns(row)[-1]))[:most]:
            if "turns" in row:
                *earlier, last = user_turns(row)
                rows.add(f"benign-{name}", {"text": last, "label": "benign", "context": earlier[-2:]})
            else:
                rows.add(f"benign-{name}", row | {"label": "benign"})
    files = ["train", "benign", "injections", "jailbreaks", "lookalikes", "twins"]
    variants(own, rows, [f"safety/{file}.jsonl" for file in files], lambda row: row["label"])
    variants(own, rows, ["task/train"], lambda row: "benign")


def pii_rows(data: pathlib.Path, own: pathlib.Path, rows: Rows) -> None:
    """Which kinds of personal data a prompt has."""
    for row in read(data / "pii_train.jsonl"):
        kinds = {PII[span["type"]] for span in row["spans"] if span["type"] in PII}
        rows.add("presidio", row | {"label": sorted(kinds)})
    # Public questions of which hardly any has personal data.
    for name, most in WITHOUT_PERSONAL_DATA.items():
        for row in sorted(read(data / f"{name}.jsonl"), key=lambda row: rank(row["text"]))[:most]:
            rows.add(f"none-{name}", row | {"label": []})


def main() -> None:
    """Makes the rows of all heads."""
    data, own, folder = map(pathlib.Path, sys.argv[1:])
    for head, make in (("task", task_rows), ("domain", domain_rows), ("safety", safety_rows), ("pii", pii_rows)):
        rows = Rows(head, folder, own)
        make(data, own, rows)
        rows.write()


if __name__ == "__main__":
    main()
