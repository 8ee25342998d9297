// Package peer answers commands of confsec's interop tests and benchmarks: one line of JSON on stdin, one on stdout.
//
// It stands on the standard library alone, so that each program of ours can put another library behind it.
package peer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// Answer has what an op returns, without "ok".
type Answer = map[string]any

// Ops are the commands that a program understands, by name.
type Ops map[string]func(Command) (Answer, error)

// Serve answers commands until the input ends.
func Serve(ops Ops) {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		if err := out.Encode(run(ops, line)); err != nil {
			return
		}
	}
}

func run(ops Ops, line []byte) (answer Answer) {
	defer func() {
		if cause := recover(); cause != nil {
			answer = failure(fmt.Sprint("panic: ", cause))
		}
	}()
	var c Command
	if err := json.Unmarshal(line, &c); err != nil {
		return failure(err.Error())
	}
	op, found := ops[c.Op]
	if !found {
		return failure("this peer has no op " + c.Op)
	}
	answer, err := op(c)
	if err != nil {
		return failure(err.Error())
	}
	answer["ok"] = true
	return answer
}

func failure(why string) Answer {
	return Answer{"ok": false, "error": why}
}
