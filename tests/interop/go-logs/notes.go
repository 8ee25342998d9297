package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/transparency-dev/formats/log"
	cosignature "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"

	"confsec.invalid/interop/peer"
)

const typeEd25519 = 1

// newKey makes a key with x/mod, or one for ML-DSA-44 with formats.
func newKey(c peer.Command) (peer.Answer, error) {
	make := func(name string) (string, string, error) { return note.GenerateKey(rand.Reader, name) }
	if c.Kind == "ml-dsa-44" {
		make = cosignature.GenerateMLDSAKey
	}
	signing, verifier, err := make(c.Name)
	return peer.Answer{"signing_key": signing, "verifier_key": verifier}, err
}

// keyType returns the type of a key in any of its text forms: the first byte of the last part.
func keyType(key string, parts int) byte {
	fields := strings.SplitN(key, "+", parts)
	data, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(data) == 0 {
		return 0
	}
	return data[0]
}

func signers(keys []string) ([]note.Signer, error) {
	found := []note.Signer{}
	for _, key := range keys {
		signer, err := newSigner(key)
		if err != nil {
			return nil, err
		}
		found = append(found, signer)
	}
	return found, nil
}

func newSigner(key string) (note.Signer, error) {
	if keyType(key, 5) == typeEd25519 {
		return note.NewSigner(key)
	}
	return cosignature.NewSignerForCosignatureV1(key)
}

func verifiers(keys []string) ([]note.Verifier, error) {
	found := []note.Verifier{}
	for _, key := range keys {
		verifier, err := newVerifier(key)
		if err != nil {
			return nil, err
		}
		found = append(found, verifier)
	}
	return found, nil
}

func newVerifier(key string) (note.Verifier, error) {
	if keyType(key, 3) == typeEd25519 {
		return note.NewVerifier(key)
	}
	return cosignature.NewVerifierForCosignatureV1(key)
}

func signNote(c peer.Command) (peer.Answer, error) {
	return sign(c.Text, c.SigningKeys)
}

func sign(text string, keys []string) (peer.Answer, error) {
	with, err := signers(keys)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, with...)
	return peer.Answer{"note": peer.Octets(signed)}, err
}

func verifyNote(c peer.Command) (peer.Answer, error) {
	with, err := verifiers(c.VerifierKeys)
	if err != nil {
		return nil, err
	}
	opened, err := note.Open(c.Note, note.VerifierList(with...))
	if err != nil {
		return nil, err
	}
	return peer.Answer{"text": opened.Text, "signers": names(opened.Sigs)}, nil
}

func names(signatures []note.Signature) []string {
	found := []string{}
	for _, signature := range signatures {
		found = append(found, signature.Name)
	}
	return found
}

func signCheckpoint(c peer.Command) (peer.Answer, error) {
	checkpoint := log.Checkpoint{Origin: c.Origin, Size: c.TreeSize, Hash: c.Root}
	return sign(string(checkpoint.Marshal()), c.SigningKeys)
}

// verifyCheckpoint opens a checkpoint with the log's key, which is the first one, and those of its cosigners.
func verifyCheckpoint(c peer.Command) (peer.Answer, error) {
	with, err := verifiers(c.VerifierKeys)
	if err != nil {
		return nil, err
	}
	if len(with) == 0 {
		return nil, errors.New("a checkpoint is verified with the log's key at least")
	}
	checkpoint, rest, opened, err := log.ParseCheckpoint(c.Note, c.Origin, with[0], with[1:]...)
	if err != nil {
		return nil, err
	}
	times, err := cosignatureTimes(opened.Sigs, c.Origin)
	return peer.Answer{
		"tree_size":  checkpoint.Size,
		"root":       peer.Octets(checkpoint.Hash),
		"extensions": string(rest),
		"times":      times,
	}, err
}

// cosignatureTimes returns when each of the others signed, in seconds since 1970.
func cosignatureTimes(signatures []note.Signature, origin string) (map[string]int64, error) {
	times := map[string]int64{}
	for _, signature := range signatures {
		if signature.Name == origin {
			continue
		}
		at, err := cosignature.CoSigV1Timestamp(signature)
		if err != nil {
			return nil, err
		}
		times[signature.Name] = at.Unix()
	}
	return times, nil
}

func policySatisfied(c peer.Command) (peer.Answer, error) {
	group, err := witness.ParsePolicy(c.Policy)
	if err != nil {
		return nil, err
	}
	if !group.Satisfied(c.Note) {
		return nil, errors.New("no quorum")
	}
	return peer.Answer{}, nil
}

func encodeLogProof(c peer.Command) (peer.Answer, error) {
	encoded := proof.TLogProof{Index: c.Index, Checkpoint: c.Note, ExtraData: c.Extra}
	for _, hash := range c.Hashes {
		if len(hash) != 32 {
			return nil, fmt.Errorf("a hash has %d bytes", len(hash))
		}
		encoded.Hashes = append(encoded.Hashes, [32]byte(hash))
	}
	return peer.Answer{"proof": peer.Octets(encoded.Marshal())}, nil
}

func decodeLogProof(c peer.Command) (peer.Answer, error) {
	var decoded proof.TLogProof
	if err := decoded.Unmarshal(c.Proof); err != nil {
		return nil, err
	}
	hashes := []peer.Octets{}
	for _, hash := range decoded.Hashes {
		hashes = append(hashes, hash[:])
	}
	return peer.Answer{
		"index":  decoded.Index,
		"hashes": hashes,
		"note":   peer.Octets(decoded.Checkpoint),
		"extra":  peer.Octets(decoded.ExtraData),
	}, nil
}
