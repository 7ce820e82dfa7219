// A program that says what Go itself calls its code, for comparison with our reader. Its lines, with tabs between
// the words:
//
//	at     ADDRESS LINE FUNCTION FILE   the innermost frame, at every STRIDE bytes of the range asked for
//	owner  ADDRESS LINE FUNCTION FILE   its own stack, through inlined calls, innermost first: a function,
//	inline ADDRESS LINE FUNCTION FILE   or a call that was inlined into what follows
//
// Arguments, hexadecimal: the address in the file of main.anchor; FIRST, END and STRIDE of the range. Addresses
// are printed as in the file.
package main

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
)

type finder struct{ depth int }

//go:noinline
func anchor() uintptr {
	pc, _, _, _ := runtime.Caller(0)
	return runtime.FuncForPC(pc).Entry()
}

var bias uintptr

func inner(out *bufio.Writer) { report(out) }

func middle(out *bufio.Writer) { inner(out) }

func (f *finder) scan(out *bufio.Writer) {
	each([]int{f.depth}, func(int) { middle(out) })
}

//go:noinline
func each[T any](list []T, call func(T)) {
	for _, item := range list {
		call(item)
	}
}

//go:noinline
func report(out *bufio.Writer) {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		kind := "owner"
		if frame.Func == nil { // CallersFrames: nil for a call that was inlined
			kind = "inline"
		}
		line(out, kind, frame.PC, frame.Line, frame.Function, frame.File)
		if !more {
			return
		}
	}
}

func line(out *bufio.Writer, kind string, pc uintptr, number int, function, file string) {
	out.WriteString(kind + "\t" + strconv.FormatUint(uint64(pc-bias), 16) + "\t" + strconv.Itoa(number) + "\t" + function + "\t" + file + "\n")
}

func number(text string) uintptr {
	value, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		panic(err)
	}
	return uintptr(value)
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	bias = anchor() - number(os.Args[1])
	for at := number(os.Args[2]); at < number(os.Args[3]); at += number(os.Args[4]) {
		if function := runtime.FuncForPC(at + bias); function != nil {
			file, where := function.FileLine(at + bias)
			line(out, "at", at+bias, where, function.Name(), file)
		}
	}
	(&finder{depth: 3}).scan(out)
}
