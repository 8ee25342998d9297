// A peer for confsec's interop tests and benchmarks, made from github.com/transparency-dev/tessera: whole logs in folders.
//
// The README one folder up lists the commands.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"confsec.invalid/interop/peer"
)

const (
	batchAge = 5 * time.Millisecond
	// The least that the module takes.
	checkpointInterval = 100 * time.Millisecond
	// How long it waits for witnesses, and at its end for a checkpoint.
	patience = 4 * time.Second
)

func main() {
	b := &benchmarks{open: map[string]growing{}}
	peer.Serve(peer.Ops{"log_append": appendEntries, "log_check": checkLog, "bench": b.bench, "log_close": b.close})
}

// openLog opens a log until the context ends. With a policy, it publishes what a quorum of witnesses has cosigned.
func openLog(ctx context.Context, c peer.Command) (*tessera.Appender, func(context.Context) error, error) {
	if len(c.SigningKeys) != 1 {
		return nil, nil, fmt.Errorf("a log has one key, and not %d", len(c.SigningKeys))
	}
	signer, err := note.NewSigner(c.SigningKeys[0])
	if err != nil {
		return nil, nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: c.Folder})
	if err != nil {
		return nil, nil, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(uint(max(c.Chunk, 1)), batchAge).
		WithCheckpointInterval(checkpointInterval).
		WithPushback(1 << 20).
		WithShutdownTimeout(patience)
	if c.Policy != nil {
		witnesses, err := tessera.NewWitnessGroupFromPolicy(c.Policy)
		if err != nil {
			return nil, nil, err
		}
		options = options.WithWitnesses(witnesses, &tessera.WitnessOptions{Timeout: patience})
	}
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, options)
	return appender, shutdown, err
}

// add appends entries at once and returns when all of them are durable and in the tree.
func add(appender *tessera.Appender, entries [][]byte) ([]uint64, error) {
	ctx := context.Background()
	futures := make([]tessera.IndexFuture, len(entries))
	for i, entry := range entries {
		futures[i] = appender.Add(ctx, tessera.NewEntry(entry))
	}
	indexes := make([]uint64, len(entries))
	for i, future := range futures {
		index, err := future()
		if err != nil {
			return nil, err
		}
		indexes[i] = index.Index
	}
	return indexes, nil
}

// appendEntries opens a log, grows it, and closes it when there is a checkpoint of all entries.
func appendEntries(c peer.Command) (peer.Answer, error) {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	appender, shutdown, err := openLog(ctx, c)
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, len(c.Entries))
	for i, entry := range c.Entries {
		entries[i] = entry
	}
	indexes, err := add(appender, entries)
	if err != nil {
		return nil, err
	}
	return peer.Answer{"indexes": indexes}, shutdown(ctx)
}

// checkers is how many work at once. One that finds a wrong tile goes home, and when all have, the check never ends.
const checkers = 16

// checkLog reads a whole log and computes its tree and all of its tiles anew.
func checkLog(c peer.Command) (peer.Answer, error) {
	if len(c.VerifierKeys) != 1 {
		return nil, fmt.Errorf("a log has one key, and not %d", len(c.VerifierKeys))
	}
	verifier, err := note.NewVerifier(c.VerifierKeys[0])
	if err != nil {
		return nil, err
	}
	check := fsck.New(c.Origin, verifier, client.FileFetcher{Root: c.Folder}, leafHashes, fsck.Opts{N: checkers})
	return peer.Answer{}, check.Check(context.Background())
}

func leafHashes(bundle []byte) ([][]byte, error) {
	var entries api.EntryBundle
	if err := entries.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(entries.Entries))
	for i, entry := range entries.Entries {
		hashes[i] = rfc6962.DefaultHasher.HashLeaf(entry)
	}
	return hashes, nil
}

// growing is a log that is open, and what closes it.
type growing struct {
	appender *tessera.Appender
	close    func() error
}

// benchmarks keeps the logs open that grow.
type benchmarks struct {
	open map[string]growing
	made uint64
}

func (b *benchmarks) logOf(c peer.Command) (growing, error) {
	if log, found := b.open[c.Folder]; found {
		return log, nil
	}
	ctx, end := context.WithCancel(context.Background())
	appender, shutdown, err := openLog(ctx, c)
	if err != nil {
		end()
		return growing{}, err
	}
	b.open[c.Folder] = growing{appender, func() error { defer end(); return shutdown(ctx) }}
	return b.open[c.Folder], nil
}

// close ends a log when there is a checkpoint of all entries.
func (b *benchmarks) close(c peer.Command) (peer.Answer, error) {
	log, found := b.open[c.Folder]
	if !found {
		return nil, fmt.Errorf("no log is open in %s", c.Folder)
	}
	delete(b.open, c.Folder)
	return peer.Answer{}, log.close()
}

// bench appends so many entries of some size, all different, in batches of at most "chunk".
func (b *benchmarks) bench(c peer.Command) (peer.Answer, error) {
	log, err := b.logOf(c)
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, c.Iterations)
	for i := range entries {
		entries[i] = b.entry(c.Size)
	}
	begin := time.Now()
	_, err = add(log.appender, entries)
	return peer.Answer{"seconds": time.Since(begin).Seconds()}, err
}

func (b *benchmarks) entry(size int) []byte {
	b.made++
	entry := make([]byte, max(size, sha256.Size))
	digest := sha256.Sum256([]byte(fmt.Sprint(b.made)))
	copy(entry, digest[:])
	return entry
}
