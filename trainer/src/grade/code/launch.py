"""Runs run.py of a folder under limits that it cannot lift: without rights, network, further processes, or environment.

usage: launch.py FOLDER SECONDS
"""

import ctypes
import os
import resource
import sys

MIB = 1 << 20
CLONE_NEWUSER, CLONE_NEWNET, PR_SET_NO_NEW_PRIVS = 0x10000000, 0x40000000, 38
# The numbers of these system calls are the same on all architectures.
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
# To bind and to connect TCP sockets.
LANDLOCK_ACCESS_NET = 3
# The user that Linux keeps for those without rights.
NOBODY = 65534

folder, seconds = sys.argv[1], int(sys.argv[2])
is_root = os.geteuid() == 0
libc = ctypes.CDLL(None)
# A network of its own has no way out. Where the system does not allow that, the caller notices and warns.
libc.unshare(CLONE_NEWNET if is_root else CLONE_NEWNET | CLONE_NEWUSER)
if is_root:
    # Limits of processes do not apply to root.
    os.chown(folder, NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
# In a domain of Landlock, code can neither use TCP nor read the environment and memory of its user's other processes.
# Before Linux 6.7, there is no such domain.
ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, (ctypes.c_uint64 * 2)(0, LANDLOCK_ACCESS_NET), ctypes.c_size_t(16), 0)
if ruleset >= 0:
    libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
limits = {
    resource.RLIMIT_CPU: seconds,
    resource.RLIMIT_AS: 1024 * MIB,
    resource.RLIMIT_FSIZE: 16 * MIB,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}
for kind, limit in limits.items():
    resource.setrlimit(kind, (limit, limit))
os.chdir(folder)
# Numerical libraries start no threads then, which the limit of processes counts.
threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
environment = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", **threads}
os.execve(sys.executable, [sys.executable, "-I", "run.py"], environment)
