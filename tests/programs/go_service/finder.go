package main

// #cgo CXXFLAGS: -std=c++17
// #include <stdlib.h>
// #include "finder.h"
import "C"

import (
	"errors"
	"runtime"
)

// Mat is a handle to a cv::Mat, closed by hand.
type Mat struct{ handle C.Mat }

func newGray(rows, columns, seed int) Mat {
	return Mat{C.Mat_Gray(C.int(rows), C.int(columns), C.int(seed))}
}

func (m Mat) Close() { C.Mat_Close(m.handle) }

var errNoMatch = errors.New("no match")

// Finder looks for one template in screenshots.
type Finder struct{ template Mat }

// scan forgets to close the result when it finds nothing.
func (f *Finder) scan(screenshot Mat, number int) error {
	result := Mat{C.site_match(screenshot.handle, f.template.handle)}
	if number%3 == 0 {
		return errNoMatch
	}
	result.Close()
	return nil
}

// Picture is closed by the garbage collector.
type Picture struct{ handle C.Mat }

func newPicture() *Picture {
	picture := &Picture{C.site_held_by_finalizer(100, 200)}
	runtime.SetFinalizer(picture, func(p *Picture) { C.Mat_Close(p.handle) })
	return picture
}

// visit is called from C: it leaks a block in C again, from as deep a Go stack as it is told to grow.
//
//go:noinline
func visit(depth int) {
	if depth > 0 {
		var room [256]byte
		room[depth%256] = byte(depth)
		visit(depth - 1)
		runtime.KeepAlive(&room)
		return
	}
	C.site_in_callback(120)
}

//export goVisit
func goVisit(handle C.uintptr_t, depth C.int) {
	if handle != 42 {
		panic("another handle")
	}
	visit(int(depth))
}

//go:noinline
func callBack(depth int) { C.site_after_callback(42, C.int(depth)) }

//go:noinline
func describe(text string) *C.char { return C.CString(text) }

//go:noinline
func buffer(bytes int) { C.malloc(C.size_t(bytes)) }

//go:noinline
func deep(depth int) {
	if depth > 0 {
		var room [512]byte
		room[depth%512] = byte(depth)
		deep(depth - 1)
		runtime.KeepAlive(&room)
		return
	}
	C.site_deep_stack(90)
}

func init() { C.site_in_init(60) }

func lockedThread() {
	runtime.LockOSThread()
	C.site_locked_thread(80)
}

func each[T any](items []T, call func(T)) {
	for _, item := range items {
		call(item)
	}
}
