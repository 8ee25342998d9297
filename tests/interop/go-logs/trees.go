package main

import (
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/tlog"

	"confsec.invalid/interop/peer"
)

// library is one of the two modules that have trees.
type library interface {
	root(c peer.Command) ([]byte, error)
	proveInclusion(c peer.Command) ([][]byte, error)
	verifyInclusion(c peer.Command) error
	proveConsistency(c peer.Command) ([][]byte, error)
	verifyConsistency(c peer.Command) error
}

func libraryOf(c peer.Command) (library, error) {
	found, ok := map[string]library{"merkle": merkleLibrary{}, "tlog": tlogLibrary{}}[c.Variant]
	if !ok {
		return nil, fmt.Errorf("this peer has no trees of %s", c.Variant)
	}
	return found, nil
}

func treeRoot(c peer.Command) (peer.Answer, error) {
	from, err := libraryOf(c)
	if err != nil {
		return nil, err
	}
	root, err := from.root(c)
	return peer.Answer{"root": peer.Octets(root)}, err
}

func proveInclusion(c peer.Command) (peer.Answer, error) {
	from, err := libraryOf(c)
	if err != nil {
		return nil, err
	}
	return hashesAnswer(from.proveInclusion(c))
}

func proveConsistency(c peer.Command) (peer.Answer, error) {
	from, err := libraryOf(c)
	if err != nil {
		return nil, err
	}
	return hashesAnswer(from.proveConsistency(c))
}

func verifyInclusion(c peer.Command) (peer.Answer, error) {
	from, err := libraryOf(c)
	if err != nil {
		return nil, err
	}
	return peer.Answer{}, from.verifyInclusion(c)
}

func verifyConsistency(c peer.Command) (peer.Answer, error) {
	from, err := libraryOf(c)
	if err != nil {
		return nil, err
	}
	return peer.Answer{}, from.verifyConsistency(c)
}

func hashesAnswer(hashes [][]byte, err error) (peer.Answer, error) {
	found := []peer.Octets{}
	for _, hash := range hashes {
		found = append(found, hash)
	}
	return peer.Answer{"hashes": found}, err
}

// merkleLibrary is github.com/transparency-dev/merkle.
type merkleLibrary struct{}

func (merkleLibrary) tree(c peer.Command) *testonly.Tree {
	tree := testonly.New(rfc6962.DefaultHasher)
	for _, entry := range c.Entries {
		tree.AppendData(entry)
	}
	return tree
}

func (l merkleLibrary) root(c peer.Command) ([]byte, error) { return l.tree(c).Hash(), nil }

func (l merkleLibrary) proveInclusion(c peer.Command) ([][]byte, error) {
	return l.tree(c).InclusionProof(c.Index, c.TreeSize)
}

func (merkleLibrary) verifyInclusion(c peer.Command) error {
	return proof.VerifyInclusion(rfc6962.DefaultHasher, c.Index, c.TreeSize, c.Leaf, octets(c.Hashes), c.Root)
}

func (l merkleLibrary) proveConsistency(c peer.Command) ([][]byte, error) {
	return l.tree(c).ConsistencyProof(c.OldSize, c.TreeSize)
}

func (merkleLibrary) verifyConsistency(c peer.Command) error {
	return proof.VerifyConsistency(
		rfc6962.DefaultHasher, c.OldSize, c.TreeSize, octets(c.Hashes), c.OldRoot, c.Root)
}

func octets(given []peer.Octets) [][]byte {
	found := make([][]byte, len(given))
	for i, each := range given {
		found[i] = each
	}
	return found
}

// tlogLibrary is golang.org/x/mod/sumdb/tlog.
type tlogLibrary struct{}

// stored has the hashes of a tree in the order of that module.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(s)) {
			return nil, fmt.Errorf("the tree has no hash %d", index)
		}
		found[i] = s[index]
	}
	return found, nil
}

func storedHashes(entries []peer.Octets) (stored, error) {
	found := stored{}
	for number, entry := range entries {
		hashes, err := tlog.StoredHashes(int64(number), entry, found)
		if err != nil {
			return nil, err
		}
		found = append(found, hashes...)
	}
	return found, nil
}

func (tlogLibrary) root(c peer.Command) ([]byte, error) {
	hashes, err := storedHashes(c.Entries)
	if err != nil {
		return nil, err
	}
	root, err := tlog.TreeHash(int64(len(c.Entries)), hashes)
	return root[:], err
}

func (tlogLibrary) proveInclusion(c peer.Command) ([][]byte, error) {
	hashes, err := storedHashes(c.Entries)
	if err != nil {
		return nil, err
	}
	found, err := tlog.ProveRecord(int64(c.TreeSize), int64(c.Index), hashes)
	return slices(found), err
}

func (tlogLibrary) verifyInclusion(c peer.Command) error {
	hashes, err := arrays(append(append([]peer.Octets{}, c.Hashes...), c.Root, c.Leaf))
	if err != nil {
		return err
	}
	at := len(c.Hashes)
	return tlog.CheckRecord(hashes[:at], int64(c.TreeSize), hashes[at], int64(c.Index), hashes[at+1])
}

func (tlogLibrary) proveConsistency(c peer.Command) ([][]byte, error) {
	hashes, err := storedHashes(c.Entries)
	if err != nil {
		return nil, err
	}
	found, err := tlog.ProveTree(int64(c.TreeSize), int64(c.OldSize), hashes)
	return slices(found), err
}

func (tlogLibrary) verifyConsistency(c peer.Command) error {
	hashes, err := arrays(append(append([]peer.Octets{}, c.Hashes...), c.Root, c.OldRoot))
	if err != nil {
		return err
	}
	at := len(c.Hashes)
	return tlog.CheckTree(hashes[:at], int64(c.TreeSize), hashes[at], int64(c.OldSize), hashes[at+1])
}

func slices(given []tlog.Hash) [][]byte {
	found := make([][]byte, len(given))
	for i := range given {
		found[i] = given[i][:]
	}
	return found
}

func arrays(given []peer.Octets) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(given))
	for i, each := range given {
		if len(each) != tlog.HashSize {
			return nil, fmt.Errorf("a hash has %d bytes", len(each))
		}
		found[i] = tlog.Hash(each)
	}
	return found, nil
}
