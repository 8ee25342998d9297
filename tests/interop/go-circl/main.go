// A peer for confsec's interop tests and benchmarks, made from github.com/cloudflare/circl: blind RSA signatures.
//
// The README one folder up lists the commands.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/blindsign/blindrsa"
	"github.com/cloudflare/circl/blindsign/blindrsa/partiallyblindrsa"

	"confsec.invalid/interop/peer"
)

var variants = map[string]blindrsa.Variant{
	"RSABSSA-SHA384-PSS-Randomized":        blindrsa.SHA384PSSRandomized,
	"RSABSSA-SHA384-PSSZERO-Randomized":    blindrsa.SHA384PSSZeroRandomized,
	"RSABSSA-SHA384-PSS-Deterministic":     blindrsa.SHA384PSSDeterministic,
	"RSABSSA-SHA384-PSSZERO-Deterministic": blindrsa.SHA384PSSZeroDeterministic,
}

const partiallyBlind = "RSAPBSSA-SHA384-PSS-Deterministic"

// finalize takes the blinding off a signature that it waits for.
type finalize func(blindSig []byte) ([]byte, error)

// exchanges holds what waits for its signature, by number.
type exchanges struct {
	waiting []finalize
}

func main() {
	e := &exchanges{}
	peer.Serve(peer.Ops{
		"brsa_blind":    e.blind,
		"brsa_sign":     sign,
		"brsa_finalize": e.finalize,
		"brsa_verify":   verify,
		"bench":         bench,
	})
}

func (e *exchanges) blind(c peer.Command) (peer.Answer, error) {
	key, err := publicKey(c)
	if err != nil {
		return nil, err
	}
	inputMsg, blindedMsg, finalize, err := blind(c, key)
	if err != nil {
		return nil, err
	}
	e.waiting = append(e.waiting, finalize)
	return peer.Answer{
		"exchange":    len(e.waiting) - 1,
		"input_msg":   peer.Octets(inputMsg),
		"blinded_msg": peer.Octets(blindedMsg),
	}, nil
}

func blind(c peer.Command, key *rsa.PublicKey) (inputMsg, blindedMsg []byte, _ finalize, err error) {
	if c.Info != nil {
		verifier, err := partialVerifier(c, key)
		if err != nil {
			return nil, nil, nil, err
		}
		blindedMsg, state, err := verifier.Blind(rand.Reader, c.Msg, *c.Info)
		return c.Msg, blindedMsg, state.Finalize, err
	}
	client, err := newClient(c, key)
	if err != nil {
		return nil, nil, nil, err
	}
	inputMsg, err = client.Prepare(rand.Reader, c.Msg)
	if err != nil {
		return nil, nil, nil, err
	}
	blindedMsg, state, err := client.Blind(rand.Reader, inputMsg)
	return inputMsg, blindedMsg, func(blindSig []byte) ([]byte, error) { return client.Finalize(state, blindSig) }, err
}

func (e *exchanges) finalize(c peer.Command) (peer.Answer, error) {
	if c.Exchange >= uint64(len(e.waiting)) {
		return nil, errors.New("no such exchange")
	}
	sig, err := e.waiting[c.Exchange](c.BlindSig)
	return peer.Answer{"sig": peer.Octets(sig)}, err
}

func sign(c peer.Command) (peer.Answer, error) {
	key, err := privateKey(c)
	if err != nil {
		return nil, err
	}
	if c.Info == nil {
		blindSig, err := blindrsa.NewSigner(key).BlindSign(c.BlindedMsg)
		return peer.Answer{"blind_sig": peer.Octets(blindSig)}, err
	}
	signer, err := partiallyblindrsa.NewSigner(key, crypto.SHA384)
	if err != nil {
		return nil, err
	}
	blindSig, err := signer.BlindSign(c.BlindedMsg, *c.Info)
	return peer.Answer{"blind_sig": peer.Octets(blindSig)}, err
}

func verify(c peer.Command) (peer.Answer, error) {
	key, err := publicKey(c)
	if err != nil {
		return nil, err
	}
	if c.Info != nil {
		verifier, err := partialVerifier(c, key)
		if err != nil {
			return nil, err
		}
		return peer.Answer{}, verifier.Verify(c.InputMsg, *c.Info, c.Sig)
	}
	client, err := newClient(c, key)
	if err != nil {
		return nil, err
	}
	return peer.Answer{}, client.Verify(c.InputMsg, c.Sig)
}

func newClient(c peer.Command, key *rsa.PublicKey) (blindrsa.Client, error) {
	variant, found := variants[c.Variant]
	if !found {
		return blindrsa.Client{}, fmt.Errorf("this peer has no variant %s without metadata", c.Variant)
	}
	return blindrsa.NewClient(variant, key)
}

func partialVerifier(c peer.Command, key *rsa.PublicKey) (partiallyblindrsa.Verifier, error) {
	if c.Variant != partiallyBlind {
		return nil, fmt.Errorf("this peer has no variant %s with metadata", c.Variant)
	}
	return partiallyblindrsa.NewVerifier(key, crypto.SHA384), nil
}

func publicKey(c peer.Command) (*rsa.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(c.PublicKey)
	if err != nil {
		return nil, err
	}
	rsaKey, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return rsaKey, nil
}

func privateKey(c peer.Command) (*rsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, err
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return rsaKey, nil
}
