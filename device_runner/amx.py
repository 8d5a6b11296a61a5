"""Keep Intel's AMX from the runtimes, so that an x86 host resembles the boards that have none.

Where a CPU has AMX, LiteRT's XNNPACK takes it for every int8 convolution. Its tiles hold 64 input
channels; with 16, three quarters of the work is padding, and a small ResNet runs at 0.6 of the
speed that VNNI gives on the same CPU. Linux hands AMX only to processes that ask for it
(Documentation/arch/x86/xstate.rst); a seccomp filter that refuses the question leaves VNNI.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

from edgeticket.device_runner.errors import InputError

# Linux UAPI: asm/unistd_64.h, asm/prctl.h, linux/prctl.h, linux/seccomp.h, linux/bpf_common.h
_ARCH_PRCTL = 158
_ARCH_GET_XCOMP_PERM, _ARCH_REQ_XCOMP_PERM = 0x1022, 0x1023
_XTILEDATA = 1 << 18
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
_REFUSE, _ALLOW = 0x00050001, 0x7FFF0000  # EPERM; go on

_FILTER = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 0, 3, _ARCH_PRCTL),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, _ARCH_REQ_XCOMP_PERM),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    )
)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def withhold_amx() -> None:
    """From now on neither this process nor its children can start to use AMX.

    Does nothing on machines that are not x86-64 Linux: there is no AMX to withhold.

    Raises:
        InputError: the kernel refuses the filter, or this process uses AMX already.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(_FILTER) // struct.calcsize("HBBI"), _FILTER)
    permitted = ctypes.c_uint64()
    # Kernels before 5.16 do not know the question, nor AMX.
    libc.syscall(_ARCH_PRCTL, _ARCH_GET_XCOMP_PERM, ctypes.byref(permitted))
    if permitted.value & _XTILEDATA:
        raise InputError("--no-amx: this process has been given AMX already; use a new one")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)
    ):
        raise InputError(
            f"--no-amx: the kernel refuses the filter (errno {ctypes.get_errno()}); "
            "measure without --no-amx"
        )
