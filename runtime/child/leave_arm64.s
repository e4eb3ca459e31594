#include "textflag.h"

// leave handles a signal, whose number is in R0: exit_group(128+number). What a filter lets nobody call kills.
TEXT ·leave(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	ADD	$128, R0
	MOVD	$94, R8		// exit_group
	SVC
	UNDEF

DATA ·leaveAddress(SB)/8, $·leave(SB)
GLOBL ·leaveAddress(SB), RODATA|NOPTR, $8
