#!/bin/sh
# The instruction sets of this processor, asked of the system and not of the program under test: one
# that the program has to do without is a failure, not a test less.

# has FLAG...: the processor has them all.
has() {
    for flag; do
        grep -qE "^flags.* $flag( |\$)" /proc/cpuinfo || return 1
    done
}

echo portable
case $(uname -m) in
x86_64)
    has avx2 fma f16c && echo avx2
    has avx2 fma f16c avx512f avx512bw avx512vl avx512dq && echo avx512
    has avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512_vnni && echo avx512vnni
    ;;
aarch64 | arm64)
    echo neon
    grep -qE "^Features.* asimddp( |$)" /proc/cpuinfo 2>/dev/null && echo neon-dotprod
    grep -E "^Features.* asimddp( |$)" /proc/cpuinfo 2>/dev/null | grep -qE " i8mm( |$)" &&
        echo neon-i8mm
    ;;
esac
exit 0
