#include "textflag.h"

// The first instruction of a program: RSP is where the kernel put argc.
TEXT conex_entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	$0, R1
	B	enter<>(SB)

TEXT conex_sealed_entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	$1, R1
	B	enter<>(SB)

TEXT enter<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	RSP, R0
	SUB	$64, RSP
	MOVD	R0, 8(RSP)	// begin's arguments
	MOVD	R1, 16(RSP)
	MOVD	$0, g
	CALL	·begin(SB)
	ADD	$64, RSP
	B	_rt0_arm64_linux(SB)
