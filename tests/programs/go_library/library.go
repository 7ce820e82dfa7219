// A Go library that C programs load: what it forgets in C, on the caller's thread and on a goroutine of its own.
package main

/*
#include <stdlib.h>
__attribute__((noinline, noipa)) static void* site_from_library(size_t bytes) {
	void* p = malloc(bytes);
	__asm__ volatile("" : "+r"(p));
	return p;
}
*/
import "C"

//go:noinline
func forget(bytes int) { C.site_from_library(C.size_t(bytes)) }

//export Enter
func Enter(bytes C.int) {
	forget(int(bytes))
	done := make(chan bool)
	go func() {
		forget(int(bytes))
		done <- true
	}()
	<-done
}

func main() {}
