package main

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"confsec.invalid/interop/peer"
)

// bench times one step of RSABSSA-SHA384-PSS-Deterministic, as often as it is told, with everything else made before.
func bench(c peer.Command) (peer.Answer, error) {
	key, err := privateKey(c)
	if err != nil {
		return nil, err
	}
	signer := blindrsa.NewSigner(key)
	client, err := blindrsa.NewClient(blindrsa.SHA384PSSDeterministic, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	msg := make([]byte, 98) // as long as what is signed for a token
	blindedMsg, state, err := client.Blind(rand.Reader, msg)
	if err != nil {
		return nil, err
	}
	blindSig, err := signer.BlindSign(blindedMsg)
	if err != nil {
		return nil, err
	}
	sig, err := client.Finalize(state, blindSig)
	if err != nil {
		return nil, err
	}
	steps := map[string]func() error{
		"blind":      func() error { _, _, err := client.Blind(rand.Reader, msg); return err },
		"blind_sign": func() error { _, err := signer.BlindSign(blindedMsg); return err },
		"finalize":   func() error { _, err := client.Finalize(state, blindSig); return err },
		"verify":     func() error { return client.Verify(msg, sig) },
	}
	step, found := steps[c.What]
	if !found {
		return nil, fmt.Errorf("this peer has no benchmark %s", c.What)
	}
	begin := time.Now()
	for range c.Iterations {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return peer.Answer{"seconds": time.Since(begin).Seconds()}, nil
}
