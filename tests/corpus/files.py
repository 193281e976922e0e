"""Small files of every format, made in the test."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import docx
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from indexer.corpus.readers import ReadOptions, read, read_stream
from indexer.types import Document, Notes


def make_pdf(pages: list[str], *, encrypted: bool = False, title: str = "") -> bytes:
    """A PDF whose pages show one line of text each; an empty string gives a page without text."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, page in enumerate(pages):
        content = f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET".encode() if page else b""
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * i} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>".encode()
        )
        objects.append(b"<</Length %d>>stream\n%b\nendstream" % (len(content), content))
    objects.append(f"<</Title({title})>>".encode())
    trailer = f"/Root 1 0 R/Info {len(objects)} 0 R"
    if encrypted:  # a user password that is not empty: a made-up /U never matches
        key = hashlib.md5(b"secret").hexdigest()
        objects.append(f"<</Filter/Standard/V 1/R 2/O<{key * 2}>/U<{key * 2}>/P -4>>".encode())
        trailer += f"/Encrypt {len(objects)} 0 R/ID[<{key}><{key}>]"
    out, offsets = io.BytesIO(), []
    out.write(b"%PDF-1.4\n")
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(f"trailer\n<</Size {len(objects) + 1}{trailer}>>\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def make_docx() -> bytes:
    document = docx.Document()
    document.core_properties.title = "On bees"
    document.add_heading("Bees", 1)
    document.add_paragraph("They dance.")
    document.add_paragraph("first", style="List Bullet")
    document.add_heading("Honey", 2)
    table = document.add_table(rows=2, cols=2)
    for i, word in enumerate(("kind", "color", "acacia", "pale")):
        table.cell(i // 2, i % 2).text = word
    document.add_paragraph("It keeps.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def make_zip_bomb(size: int = 600 << 20) -> bytes:
    """A file of a few hundred kilobytes that would unpack to ``size`` bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as part:
        for _ in range(size >> 20):
            part.write(b" " * (1 << 20))
    return out.getvalue()


def documents(path: Path, options: ReadOptions | None = None) -> tuple[list[Document], list[str]]:
    """(documents, problems) of one file."""
    notes = Notes()
    return list(read(str(path), options or ReadOptions(), notes)), notes.problems


def parsed(name: str, data: bytes | str, options: ReadOptions | None = None) -> tuple[list[Document], Notes]:
    """The documents of bytes under a file name, and the reader's remarks."""
    notes = Notes()
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(read_stream(stream, f"/{name}", options or ReadOptions(), notes)), notes


def one(name: str, data: bytes | str, options: ReadOptions | None = None) -> Document:
    """The only document of bytes under a file name."""
    (document,), notes = parsed(name, data, options)
    assert notes.problems == []
    return document


def tiny_tokenizer(size: int = 400) -> Tokenizer:
    """A byte-level BPE, like SmolLM2's: trained in a moment, and every text can be tokenized."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    text = "the quick brown fox jumps over the lazy dog and then it sleeps in the sun. "
    tokenizer.train_from_iterator([text] * 9, trainer)
    return tokenizer
