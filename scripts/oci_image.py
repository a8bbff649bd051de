#!/usr/bin/env python3
"""Writes a container image of one layer, with nothing in it but what it is told: no daemon, no base image, no network.

The file is an OCI layout (containerd, podman, skopeo) that `docker load` reads as well. Equal inputs make equal
bytes: entries are sorted, and carry no times and no owners.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class Layer:
    """A file system in the making."""

    def __init__(self):
        self.entries = {}

    def _parents(self, path):
        for parent in Path(path).parents:
            if str(parent) != ".":
                self.folder(str(parent))

    def folder(self, path, mode=0o755):
        path = path.strip("/")
        self._parents(path)
        self.entries.setdefault(path, (tarfile.DIRTYPE, mode, b""))

    def data(self, path, data, mode=0o644):
        path = path.strip("/")
        self._parents(path)
        self.entries[path] = (tarfile.REGTYPE, mode, data)

    def link(self, path, target):
        path = path.strip("/")
        self._parents(path)
        self.entries[path] = (tarfile.SYMTYPE, 0o777, target)

    def tree(self, source, path):
        """Copies a file, or a folder with all that is in it; links stay links."""
        source = Path(source)
        if source.is_dir():
            self.folder(path)
            for child in source.iterdir():
                if child.is_symlink():
                    self.link(f"{path}/{child.name}", os.readlink(child))
                else:
                    self.tree(child, f"{path}/{child.name}")
        else:
            self.data(path, source.read_bytes(), source.stat().st_mode & 0o755)

    def program(self, source, path):
        """Copies a program (or a library that is loaded at run time), and what the loader will look for, to where it looks."""
        self.data(path, Path(source).read_bytes(), 0o755)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True).stdout
        if "not found" in listed:
            sys.exit(f"error: {source} needs libraries that are not here:\n{listed}")
        for library in re.findall(r"(?:=> )?(/\S+) \(0x", listed):
            self.data(library, Path(library).resolve().read_bytes(), 0o755)

    def base(self, users):
        """What programs expect of any system: names of users, resolution of names, certificates, /tmp."""
        people = ["root:x:0:0:root:/:/sbin/nologin"]
        groups = ["root:x:0:"]
        for user in users:
            name, number = user.split(":")
            people.append(f"{name}:x:{number}:{number}:{name}:/:/sbin/nologin")
            groups.append(f"{name}:x:{number}:")
        self.data("etc/passwd", ("\n".join(people) + "\n").encode())
        self.data("etc/group", ("\n".join(groups) + "\n").encode())
        self.data("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
        self.folder("tmp", 0o1777)
        if not os.path.exists(CERTIFICATES):
            sys.exit(f"error: {CERTIFICATES} is missing: install ca-certificates")
        self.data(CERTIFICATES, Path(CERTIFICATES).read_bytes())


def archive(entries):
    """A tar file of {path: (type, mode, data or link target)}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, (kind, mode, data) in sorted(entries.items()):
            info = tarfile.TarInfo(path)
            info.type, info.mode = kind, mode
            if kind == tarfile.SYMTYPE:
                info.linkname = data
                tar.addfile(info)
            elif kind == tarfile.DIRTYPE:
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Blobs:
    """The content-addressed part of an OCI layout."""

    def __init__(self):
        self.files = {}

    def add(self, data, media_type, **more):
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = (tarfile.REGTYPE, 0o644, data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}


def encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def blob_path(descriptor):
    return "blobs/" + descriptor["digest"].replace(":", "/")


def image(layer, names, config):
    """The whole archive, and the manifest's digest."""
    system = {"os": "linux", "architecture": ARCHITECTURES[platform.machine()]}
    blobs = Blobs()
    packed = blobs.add(archive(layer.entries), "application/vnd.oci.image.layer.v1.tar")
    configured = blobs.add(
        encode({**system, "config": config, "rootfs": {"type": "layers", "diff_ids": [packed["digest"]]}}),
        "application/vnd.oci.image.config.v1+json",
    )
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = encode({"schemaVersion": 2, "mediaType": manifest_type, "config": configured, "layers": [packed]})
    descriptor = blobs.add(manifest, manifest_type, platform=system)
    index = [
        {
            **descriptor,
            "annotations": {
                # containerd reads the first, everybody else the second.
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rpartition(":")[2],
            },
        }
        for name in names
    ]
    docker = [{"Config": blob_path(configured), "RepoTags": names, "Layers": [blob_path(packed)]}]
    files = {
        **blobs.files,
        "oci-layout": (tarfile.REGTYPE, 0o644, encode({"imageLayoutVersion": "1.0.0"})),
        "index.json": (tarfile.REGTYPE, 0o644, encode({"schemaVersion": 2, "manifests": index})),
        "manifest.json": (tarfile.REGTYPE, 0o644, encode(docker)),
    }
    return archive(files), descriptor["digest"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the archive to write")
    parser.add_argument("--name", action="append", required=True, help="repository:tag; may be repeated")
    parser.add_argument("--program", action="append", default=[], metavar="FILE:PATH", help="with its libraries")
    parser.add_argument("--tree", action="append", default=[], metavar="FROM:PATH", help="a file or a folder")
    parser.add_argument("--link", action="append", default=[], metavar="TARGET:PATH")
    parser.add_argument("--user", default="nonroot:65532", metavar="NAME:NUMBER", help="who the program runs as")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--entrypoint", action="append", default=[])
    args = parser.parse_args()

    layer = Layer()
    layer.base([args.user])
    for add, pairs in ((layer.program, args.program), (layer.tree, args.tree)):
        for pair in pairs:
            source, _, path = pair.rpartition(":")
            add(source, path)
    for pair in args.link:
        target, _, path = pair.rpartition(":")
        layer.link(path, target)
    number = args.user.split(":")[1]
    config = {"User": f"{number}:{number}", "WorkingDir": "/", "Env": ["PATH=/usr/bin:/bin", *args.env]}
    if args.entrypoint:
        config["Entrypoint"] = args.entrypoint
    data, digest = image(layer, args.name, config)

    unfinished = args.out + ".new"
    Path(unfinished).write_bytes(data)
    os.replace(unfinished, args.out)
    print(f"{args.out}  {' '.join(args.name)}  {digest}  {len(data) // 1048576} MiB")


if __name__ == "__main__":
    main()
