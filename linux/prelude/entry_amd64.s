#include "textflag.h"

// The first instruction of a program: SP is where the kernel put argc. The Go code that is called loads its g from
// thread-local storage, so that has to be readable (arch_prctl ARCH_SET_FS); Go's own start sets it anew.
TEXT conex_entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	XORL	CX, CX
	JMP	enter<>(SB)

TEXT conex_sealed_entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVL	$1, CX
	JMP	enter<>(SB)

TEXT enter<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	SP, BX
	ANDQ	$~15, SP
	SUBQ	$64, SP
	MOVQ	BX, 0(SP)	// begin's arguments
	MOVQ	CX, 8(SP)
	MOVQ	BX, 16(SP)	// for the way back
	MOVQ	$0, 24(SP)	// the word before the thread's storage: g
	LEAQ	32(SP), SI
	MOVL	$0x1002, DI	// ARCH_SET_FS
	MOVL	$158, AX	// arch_prctl
	SYSCALL
	CALL	·begin(SB)
	MOVQ	16(SP), SP
	JMP	_rt0_amd64_linux(SB)
