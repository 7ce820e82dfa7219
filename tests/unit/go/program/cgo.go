package main

/*
static int twice(int x) { return 2 * x; }
*/
import "C"

//export Exported
func Exported(x C.int) C.int { return C.twice(x) }
