import json

import numpy as np

from indexer.embedding.hash_encoder import HashEncoder


def embed(run, *arguments, **keywords):
    return run("embed", "--model", "hash:64", *arguments, **keywords)


def test_one_line_each_in_order_and_empty_lines_too(run):
    result = embed(run, input="a b\n\nc\n")
    values = [json.loads(line) for line in result.out.splitlines()]
    assert [value["text"] for value in values] == ["a b", "", "c"]
    np.testing.assert_allclose(
        [value["embedding"] for value in values], HashEncoder().encode(["a b", "", "c"]), rtol=0, atol=1e-7
    )


def test_npy_file_and_no_input(run, tmp_path):
    (tmp_path / "lines.txt").write_text("a b\nc\n")
    assert embed(run, "--file", tmp_path / "lines.txt", "--output", tmp_path / "v.npy", "--no-normalize").code == 0
    vectors = np.load(tmp_path / "v.npy", allow_pickle=False)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, HashEncoder().encode(["a b", "c"], normalize=False))
    assert embed(run, "--output", tmp_path / "none.npy", input="").code == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 64)


def test_wrong_use(run, tmp_path):
    assert embed(run, "--output", tmp_path / "v.txt", input="a").code == 2
    assert embed(run, "--raw", "--template", "{text}", input="a").code == 2
    assert embed(run, "--template", "no place", input="a").code == 2
    result = embed(run, input=b"fine\nnot \xff\n")
    assert result.code == 2
    assert "line 2" in result.err
