// A Go program whose C side leaks: 25 blocks of 1000 bytes in site_c_leak, called from Go, on goroutines.
package main

/*
#include <stdlib.h>
__attribute__((noinline, noipa)) void* site_c_leak(size_t bytes) {
	void* p = malloc(bytes);
	__asm__ volatile("" : "+r"(p));
	return p;
}
*/
import "C"

import (
	"fmt"
	"sync"
)

//go:noinline
func leakFromGo() { C.site_c_leak(1000) }

func main() {
	var all sync.WaitGroup
	for i := 0; i < 25; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			leakFromGo()
			C.free(C.site_c_leak(500))
		}()
	}
	all.Wait()
	fmt.Println("leaked 25 blocks")
}
