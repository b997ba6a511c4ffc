import os

from headrace.backends.host import read_host


def test_the_facts_agree_with_what_python_knows() -> None:
    host = read_host()
    assert host.logical_cpus == len(os.sched_getaffinity(0))
    assert 1 <= host.physical_cores <= host.logical_cpus
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert abs(host.memory_bytes - pages) < pages / 10
    assert host.cpu
