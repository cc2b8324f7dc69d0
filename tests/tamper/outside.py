"""Verifies records and receipts with `tlog-scales` and `aics-tlog`; one JSON question a line, one JSON answer a line."""

import base64
import json
import sys
from pathlib import Path

import aics_tlog as aics
from tlog_scales import backend, signing, tiles, tlog
from tlog_scales.reader import TilesReader


def scales_record(audit, key, kept):
    reader = TilesReader(backend.LocalBackend(Path(audit)))
    head = reader.get_checkpoint()
    head.verify(signing.Vkey.from_string(key))
    if reader.calculate_root_hash() != head.root_hash:
        raise ValueError("another root")
    for index in range(head.size):
        leaf = tiles.leaf_hash(reader.get_entry(index))
        reader.get_inclusion_proof(index, head.size).check(leaf, head.root_hash)
    if kept["size"] > head.size:
        raise ValueError("older than what was kept")
    reader.get_consistency_proof(kept["size"], head.size).check(decode(kept["root"]), head.root_hash)


def aics_head(note, key):
    verified = aics.verify_checkpoint(aics.parse_note(note), aics.parse_vkey(key))
    if not verified.ok:
        raise ValueError(verified.error)
    return aics.parse_checkpoint(aics.parse_note(note).text)


def aics_record(audit, key, kept):
    head = aics_head(Path(audit, "checkpoint").read_bytes(), key)
    tiles_of = aics.FileSystemTileReader(audit)
    aics.audit_tiles(tiles_of, head.size, head.root)
    if kept["size"] > head.size:
        raise ValueError("older than what was kept")
    proof = aics.consistency_proof_from_tiles(tiles_of, kept["size"], head.size)
    if not aics.verify_consistency(kept["size"], head.size, decode(kept["root"]), head.root, proof):
        raise ValueError("not a continuation of what was kept")


def parts(receipt):
    yield receipt
    if isinstance(receipt.get("opened"), dict):
        yield receipt["opened"]


def decode(text):
    return base64.b64decode(text, validate=True)


def scales_receipt(receipt, key):
    head = tlog.Checkpoint.from_text(receipt["checkpoint"])
    head.verify(signing.Vkey.from_string(key))
    for part in parts(receipt):
        proof = tlog.InclusionProof(part["index"], head.size, [decode(one) for one in part["proof"]])
        proof.check(tiles.leaf_hash(decode(part["entry"])), head.root_hash)


def aics_receipt(receipt, key):
    head = aics_head(receipt["checkpoint"].encode(), key)
    for part in parts(receipt):
        proof = [decode(one) for one in part["proof"]]
        if not aics.verify_leaf_inclusion(decode(part["entry"]), part["index"], head.size, proof, head.root):
            raise ValueError("not included")


def verdict(check, *given):
    try:
        check(*given)
        return None
    except Exception as fault:  # whatever is said, it is not accepted
        return f"{type(fault).__name__}: {fault}"[:200]


for line in sys.stdin:
    asked = json.loads(line)
    if "audit" in asked:
        given = (asked["audit"], asked["key"], asked["kept"])
        said = {"scales": verdict(scales_record, *given), "aics": verdict(aics_record, *given)}
    else:
        given = (asked["receipt"], asked["key"])
        said = {"scales": verdict(scales_receipt, *given), "aics": verdict(aics_receipt, *given)}
    print(json.dumps(said), flush=True)
