package sample

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAlwaysPasses(t *testing.T) {}

func TestIsSkipped(t *testing.T) {
	t.Skip("to be counted as skipped")
}

func TestDoesWhatTheScenarioSays(t *testing.T) {
	switch os.Getenv("SCENARIO") {
	case "huge":
		for line := 0; line < 3000; line++ {
			fmt.Println(strings.Repeat("x", 1000))
		}
	case "crash":
		syscall.Kill(syscall.Getpid(), syscall.SIGSEGV)
		time.Sleep(time.Hour)
	case "hang":
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	case "fail":
		t.Error("asked to fail")
	}
}
