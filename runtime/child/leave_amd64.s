#include "textflag.h"

// leave handles a signal, whose number is in DI: exit_group(128+number). What a filter lets nobody call kills.
TEXT ·leave(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	ADDL	$128, DI
	MOVL	$231, AX	// exit_group
	SYSCALL
	UNDEF

DATA ·leaveAddress(SB)/8, $·leave(SB)
GLOBL ·leaveAddress(SB), RODATA|NOPTR, $8
