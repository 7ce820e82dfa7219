// A service modelled on gocv: many goroutines match screenshots against a template, and one path in error forgets to
// close its result. Beside it every other way in which C memory is forgotten from Go. With a path as its argument
// it writes its books there; prints what it leaked.
package main

// #include <stdlib.h>
// #include "finder.h"
import "C"

import (
	"fmt"
	"os"
	"sync"
	"unsafe"
)

const (
	workers     = 10
	screenshots = 6
)

var pictures []*Picture

func work(finder *Finder) {
	for i := 0; i < screenshots; i++ {
		screenshot := newGray(495, 655, i)
		_ = finder.scan(screenshot, i)
		screenshot.Close()
	}
}

func inGoroutine(all *sync.WaitGroup, run func()) {
	all.Add(1)
	go func() {
		defer all.Done()
		run()
	}()
}

func main() {
	var matching, others sync.WaitGroup
	finder := &Finder{newGray(16, 16, 1)}
	for i := 0; i < workers; i++ {
		inGoroutine(&matching, func() { work(finder) })
	}
	for i := 0; i < 12; i++ {
		depth := i * 40
		inGoroutine(&others, func() { callBack(depth) })
		inGoroutine(&others, func() { deep(depth) })
	}
	inGoroutine(&others, lockedThread)
	each([]string{"one", "two", "three"}, func(text string) { describe(text) })
	buffer(1234)
	for i := 0; i < 5; i++ {
		pictures = append(pictures, newPicture())
	}
	matching.Wait()
	others.Wait()
	finder.template.Close()
	fmt.Printf("%d results of 480x640 CV_32FC1 were not closed\n", workers*screenshots/3)
	if len(os.Args) > 1 {
		path := C.CString(os.Args[1])
		C.books_of_service(path)
		C.free(unsafe.Pointer(path))
	}
	if len(pictures) != 5 {
		panic("pictures are gone")
	}
}
