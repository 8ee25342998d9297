package main

import (
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"confsec.invalid/interop/peer"
)

// height is that of all tiles of C2SP's logs, whose paths leave it out.
const height = 8

func pathOf(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
}

// writeTiles returns the tiles that are new since the tree had "old_size" entries.
func writeTiles(c peer.Command) (peer.Answer, error) {
	hashes, err := storedHashes(c.Entries)
	if err != nil {
		return nil, err
	}
	written := map[string]peer.Octets{}
	for _, tile := range tlog.NewTiles(height, int64(c.OldSize), int64(len(c.Entries))) {
		data, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return nil, err
		}
		written[pathOf(tile)] = data
	}
	return peer.Answer{"tiles": written}, nil
}

// served hands out tiles by their paths, as a log does.
type served struct {
	tiles map[string]peer.Octets
	read  map[string]bool
}

func (served) Height() int { return height }

func (s served) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, ok := s.tiles[pathOf(tile)]
		if !ok || len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("the log has no tile %s of this size", pathOf(tile))
		}
		found[i], s.read[pathOf(tile)] = data, true
	}
	return found, nil
}

func (served) SaveTiles([]tlog.Tile, [][]byte) {}

// readTiles makes both kinds of proof from tiles, which the module verifies against the root.
func readTiles(c peer.Command) (peer.Answer, error) {
	root, err := arrays([]peer.Octets{c.Root})
	if err != nil {
		return nil, err
	}
	tiles := served{c.Tiles, map[string]bool{}}
	reader := tlog.TileHashReader(tlog.Tree{N: int64(c.TreeSize), Hash: root[0]}, tiles)
	inclusion, err := tlog.ProveRecord(int64(c.TreeSize), int64(c.Index), reader)
	if err != nil {
		return nil, err
	}
	consistency, err := tlog.ProveTree(int64(c.TreeSize), int64(c.OldSize), reader)
	if err != nil {
		return nil, err
	}
	answer, _ := hashesAnswer(slices(inclusion), nil)
	other, _ := hashesAnswer(slices(consistency), nil)
	return peer.Answer{"inclusion": answer["hashes"], "consistency": other["hashes"], "read": tiles.read}, nil
}
