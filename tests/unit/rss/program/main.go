// Holds 64 MiB, some of it in freed pieces, and 200 goroutines; says what runtime.MemStats has, and waits for its
// input to end.
package main

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
)

var kept [][]byte

func touched(size int) []byte {
	piece := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		piece[i] = 1
	}
	return piece
}

func wait(until chan bool, ready chan bool) {
	var deep [4096]byte
	deep[0] = 1
	ready <- true
	<-until
	runtime.KeepAlive(&deep)
}

func main() {
	until, ready := make(chan bool), make(chan bool)
	for i := 0; i < 200; i++ {
		go wait(until, ready)
		<-ready
	}
	for i := 0; i < 96; i++ {
		kept = append(kept, touched(1<<20))
	}
	for i := 0; i < 96; i += 3 {
		kept[i] = nil
	}
	debug.SetGCPercent(-1)
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	for _, number := range []uint64{stats.HeapInuse, stats.HeapIdle - stats.HeapReleased, stats.HeapReleased, stats.StackInuse} {
		os.Stdout.WriteString(strconv.FormatUint(number, 10) + " ")
	}
	os.Stdout.WriteString("\n")
	bufio.NewReader(os.Stdin).ReadByte()
}
