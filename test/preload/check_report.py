#!/usr/bin/env python3
"""check_report.py slab|buddy|pagetype|zone|json FILE: FILE is such a report, or a message says why it is not.

Read as the tools read the kernel's files: slabtop and procps by the columns of slabinfo 2.1, monitoring agents by the
rows of the others. JSON by Python's own parser, and its numbers must add up where one moment is described.
"""
import json
import re
import sys


def require(condition, what):
    if not condition:
        sys.exit(f"{sys.argv[1]}: {what}")


def slab(text):
    lines = text.splitlines()
    require(lines[0] == "slabinfo - version: 2.1", "the first line is the version")
    require(re.fullmatch(r"# name +<active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
                         r" : tunables <limit> <batchcount> <sharedfactor>"
                         r" : slabdata <active_slabs> <num_slabs> <sharedavail>", lines[1]), "the second names columns")
    for line in lines[2:]:
        match = re.fullmatch(r"(\S+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)"
                             r" : tunables +(\d+) +(\d+) +(\d+) : slabdata +(\d+) +(\d+) +(\d+)", line)
        require(match, f"a line has the columns: {line}")
        active, objects, size, per_slab, pages = map(int, match.groups()[1:6])
        require(active <= objects and size and per_slab and pages, f"a cache makes sense: {line}")
    require(len(lines) >= 74 and any(line.startswith("kmalloc-32768 ") for line in lines), "all classes are there")


def buddy(text):
    for line in text.splitlines():
        require(re.fullmatch(r"Node \d+, zone +(DMA|Normal|HighMem)( +\d+){10} ", line), f"a zone and ten orders: {line}")


def pagetype(text):
    parts = text.split("\n\n")
    require(parts[0] == "Page block order: 9\nPages per block:  512", "the pageblock comes first")
    free = parts[1].splitlines()
    require(free[0].split()[-10:] == [str(order) for order in range(10)], "ten orders")
    for line in free[1:]:
        require(re.fullmatch(r"Node +\d+, zone +\w+, type +\w+( +\d+){10} ", line), f"a type and ten orders: {line}")
    types = parts[2].splitlines()[0].replace("Number of blocks type", "").split()
    for line in parts[2].splitlines()[1:]:
        require(re.fullmatch(r"Node \d+, zone +\w+( +\d+){%d} " % len(types), line), f"a number for each type: {line}")
    for part, name in zip(parts[3:], ("unusable_index", "extfrag_index")):
        lines = part.splitlines()
        require(lines[0] == name, f"{name} has its title")
        for line in lines[1:]:
            require(re.fullmatch(r"Node \d+, zone +\w+( +-?\d\.\d{3}){10} ?", line), f"ten indices: {line}")


def zone(text):
    zones = re.split(r"^(?=Node )", text, flags=re.M)[1:]
    for one in zones:
        require(re.match(r"Node \d+, zone +\w+\n  pages free +\d+\n", one), f"pages free is first: {one}")
        for line in one.splitlines()[2:]:
            require(re.fullmatch(r" +(protection: \(\d+(, \d+)*\)|\w+ +\d+)", line), f"a name and a number: {line}")


def report_json(text):
    require(text.endswith("}\n") and text.count("\n") == 1, "one line")
    report = json.loads(text)
    require(report["format"] == "slabmalloc-report" and report["version"] == 1, "format and version")
    stats = report["stats"]
    for one in report["zones"]:
        require(len(one["free_blocks"]) == 10 and len(one["fragmentation_index"]) == 10, "ten orders")
        require(all(0 <= index <= 1 for index in one["unusable_index"]), "unusable_index is a share")
        if report["consistent"]:
            free = sum(n << order for order, n in enumerate(one["free_blocks"]))
            require(free == one["free_pages"], "free blocks are the free pages")
            require(sum(one["pageblocks"].values()) * 512 == one["mapped_pages"], "pageblocks are the pages")
    if report["consistent"]:
        page, caches = report["page_size"], report["caches"]
        require(sum(c["used_objects"] * c["slot_bytes"] for c in caches) == stats["slab_used_bytes"], "used objects")
        require(sum(c["pages"] for c in caches) * page == stats["slab_bytes"], "slab pages")
        require(sum(z["mapped_pages"] for z in report["zones"]) * page == stats["zone_bytes"], "zone pages")
        require(stats["used_bytes"] == stats["slab_used_bytes"] + stats["run_bytes"] + stats["mapping_bytes"]
                + stats["page_bytes"], "used")
        in_use = stats["zone_bytes"] - stats["zone_free_bytes"] + stats["mapping_bytes"]
        require(stats["thp_bytes"] + stats["hugetlb_bytes"] + stats["hugetlb_1g_bytes"] <= in_use, "huge pages in use")
        for name in ("thp", "hugetlb", "hugetlb_1g"):
            of_zones = sum(z[f"{name}_pages"] for z in report["zones"]) * page
            require(of_zones <= stats[f"{name}_bytes"], f"{name} of zones are among all")


CHECKS = {"slab": slab, "buddy": buddy, "pagetype": pagetype, "zone": zone, "json": report_json}

if __name__ == "__main__":
    with open(sys.argv[2], encoding="ascii") as file:
        CHECKS[sys.argv[1]](file.read())
