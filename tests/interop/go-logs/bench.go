package main

import (
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"confsec.invalid/interop/peer"
)

// bench times one verification, as often as it is told, with keys and hashes read before.
func bench(c peer.Command) (peer.Answer, error) {
	step, err := stepOf(c)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	for range c.Iterations {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return peer.Answer{"seconds": time.Since(begin).Seconds()}, nil
}

func stepOf(c peer.Command) (func() error, error) {
	if c.What == "note_verify" {
		with, err := verifiers(c.VerifierKeys)
		list := note.VerifierList(with...)
		return func() error { _, err := note.Open(c.Note, list); return err }, err
	}
	from, err := libraryOf(c)
	if err != nil {
		return nil, err
	}
	switch c.What {
	case "inclusion_verify":
		return func() error { return from.verifyInclusion(c) }, nil
	case "consistency_verify":
		return func() error { return from.verifyConsistency(c) }, nil
	}
	return nil, fmt.Errorf("this peer has no benchmark %s", c.What)
}
