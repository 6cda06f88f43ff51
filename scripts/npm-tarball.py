#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Downloads one package of an npm registry without npm, and checks its digest.

    npm-tarball.py NAME VERSION SHA512-BASE64 OUT.tgz

The registry is the one npm would use: from the environment (npm_config_registry), an .npmrc (the
user's, then the machine's), npm itself if it is installed; else npm's own default, which is read from
Debian's npm package (downloaded, not installed: with its dependencies it takes a minute and a half).
"""

import base64
import glob
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.request

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60


def npmrc_value(key):
    home = os.environ.get("HOME", "/root")
    files = [os.environ.get("npm_config_userconfig", os.path.join(home, ".npmrc")), "/etc/npmrc", "/usr/etc/npmrc"]
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                match = re.search(rf"^\s*{key}\s*=\s*[\"']?([^\"'\s]+)", f.read(), re.M)
        except OSError:
            continue
        if match:
            return match.group(1)
    return None


def environment_value(key):
    for name, value in os.environ.items():
        if name.lower() == f"npm_config_{key}" and value:
            return value
    return None


def registry_of_installed_npm():
    if not shutil.which("npm"):
        return None
    done = subprocess.run(["npm", "config", "get", "registry"], capture_output=True, text=True, timeout=60)
    value = done.stdout.strip()
    return value if done.returncode == 0 and value.startswith("http") else None


def registry_of_debian_npm():
    if not shutil.which("apt-get"):
        return None
    with tempfile.TemporaryDirectory(prefix="npm-deb") as folder:
        done = subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "npm"],
                              cwd=folder, capture_output=True, text=True, timeout=300)
        packages = glob.glob(os.path.join(folder, "npm_*.deb"))
        if done.returncode or not packages:
            return None
        subprocess.run(["dpkg", "-x", packages[0], folder], check=True)
        for path in sorted(glob.glob(os.path.join(folder, "usr/share/nodejs/**/default-opts.js"), recursive=True)):
            with open(path, encoding="utf-8") as f:
                match = re.search(r"registry:\s*'(https://[^']+)'", f.read())
            if match:
                return match.group(1)
    return None


def find_registry():
    for source in (lambda: environment_value("registry"), lambda: npmrc_value("registry"), registry_of_installed_npm,
                   registry_of_debian_npm):
        found = source()
        if found:
            return found.rstrip("/")
    sys.exit("npm-tarball.py: no npm registry is configured and npm's package cannot be downloaded to ask it; "
             "set npm_config_registry")


def download(url, out, sha512):
    cafile = environment_value("cafile") or npmrc_value("cafile")
    context = ssl.create_default_context()
    if cafile:
        context.load_verify_locations(cafile)
    digest = hashlib.sha512()
    part = out + ".part"
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS, context=context) as reply, open(part, "wb") as f:
        total = int(reply.headers.get("Content-Length") or 0)
        done = 0
        while chunk := reply.read(CHUNK):
            f.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            print(f"{done >> 20} of {total >> 20} MiB", flush=True)
    if base64.b64encode(digest.digest()).decode() != sha512:
        os.remove(part)
        sys.exit(f"npm-tarball.py: {url} does not have the expected SHA-512")
    os.rename(part, out)


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    name, version, sha512, out = sys.argv[1:]
    base = name.split("/")[-1]  # a scoped name's file has no scope
    url = f"{find_registry()}/{name}/-/{base}-{version}.tgz"
    try:
        download(url, out, sha512)
    except OSError as error:
        sys.exit(f"npm-tarball.py: {url}: {error}")


if __name__ == "__main__":
    main()
