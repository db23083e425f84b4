"""The libraries to compare: names, files, settings."""

import os
import re
import shutil
import subprocess

from .common import die

SLABMALLOC_FILE = "libslabmalloc.so"
SONAMES = {"jemalloc": "libjemalloc.so.2", "mimalloc": "libmimalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
DEFAULT = "slabmalloc,glibc,jemalloc"


def find_in_ldconfig(soname):
    """Asks the dynamic linker's cache, so that no machine's library path is written down here."""
    ldconfig = shutil.which("ldconfig", path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")
    if ldconfig is None:
        return None
    listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True).stdout
    match = re.search(rf"^\s*{re.escape(soname)} .*=> (\S+)$", listing, re.MULTILINE)
    return match.group(1) if match else None


def find_slabmalloc(build_dir):
    for folder in (".libs", "", "preload/.libs", "lib/.libs"):
        path = os.path.join(build_dir, folder, SLABMALLOC_FILE)
        if os.path.exists(path):
            return path
    die(f"no {SLABMALLOC_FILE} under {build_dir}: build it, give --lib slabmalloc=PATH, "
        "or leave it out with --libs glibc,jemalloc")


def find_known(name, build_dir):
    if name == "glibc":
        return ""
    if name == "slabmalloc":
        return find_slabmalloc(build_dir)
    if name not in SONAMES:
        die(f"no library known as '{name}': give --lib {name}=PATH")
    path = find_in_ldconfig(SONAMES[name])
    if path is None:
        die(f"{SONAMES[name]} is not installed: install it or give --lib {name}=PATH")
    return path


def parse_pair(item, place):
    """NAME=PATH; glibc alone needs no path."""
    name, equals, path = item.strip().partition("=")
    if not (name and equals and (path or name == "glibc")):
        die(f"{place} wants NAME=PATH, not '{item.strip()}'")
    return name, path


def read_file(path):
    """Lines of NAME=PATH, each followed by indented lines of VARIABLE=VALUE for that library's runs."""
    try:
        lines = open(path).read().splitlines()
    except OSError as error:
        die(f"cannot read libraries: {error}")
    given, settings, name = {}, {}, None
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        if not line[0].isspace():
            name, given_path = parse_pair(line, path)
            given[name] = given_path
            continue
        variable, equals, value = line.strip().partition("=")
        if not (name and variable and equals):
            die(f"{path} wants VARIABLE=VALUE below a library, not '{line.strip()}'")
        settings.setdefault(name, {})[variable] = value
    return given, settings


def choose(options, build_dir):
    """Name -> path of the library to preload ("" for glibc), in the order they are printed; and their settings."""
    given, settings = {}, {}
    for path in options.lib_file:
        more, more_settings = read_file(path)
        given.update(more)
        settings.update(more_settings)
    given.update(parse_pair(item, "--lib") for item in options.lib)
    names = [n for n in (options.libs or "").split(",") if n]
    if options.libs is None:
        names = ["slabmalloc"] if options.lib_file else DEFAULT.split(",")
    if options.libs is None or not options.lib_file:
        names += [n for n in given if n not in names]
    libraries = {}
    for name in names:
        path = given[name] if name in given else find_known(name, build_dir)
        if path:
            path = os.path.abspath(path)
            check_preload(name, path)
        libraries[name] = path
    add_settings(settings, options.env, libraries)
    return libraries, settings


def check_preload(name, path):
    """The dynamic linker only warns when it cannot preload, which would measure glibc under another name."""
    if not os.path.isfile(path):
        die(f"library {name}: no file {path}")
    probe = subprocess.run(["/bin/true"], env={**os.environ, "LD_PRELOAD": path}, capture_output=True, text=True)
    if probe.returncode != 0 or "cannot be preloaded" in probe.stderr:
        die(f"library {name}: {path} cannot be preloaded: {probe.stderr.strip() or f'status {probe.returncode}'}")


def add_settings(settings, items, libraries):
    """--env NAME:VARIABLE=VALUE, for libraries that differ by their settings only."""
    for item in items:
        name, _, assignment = item.partition(":")
        variable, equals, value = assignment.partition("=")
        if not (variable and equals):
            die(f"--env wants NAME:VARIABLE=VALUE, not '{item}'")
        if name not in libraries:
            die(f"--env names no compared library: '{name}'")
        settings.setdefault(name, {})[variable] = value
