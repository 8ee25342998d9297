package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/openpcc/bhttp"
	"github.com/openpcc/ohttp"
	ohttpbhttp "github.com/openpcc/ohttp/encoding/bhttp"
	"github.com/openpcc/twoway"
)

// bench does work for benchmarks, timed inside this process: both ends, in memory.
func bench(c command) (answer, error) {
	works := map[string]func(command) (time.Duration, error){
		"ohttp":  benchExchanges,
		"stream": benchStream,
		"bhttp":  benchBinary,
	}
	work, found := works[c.What]
	if !found {
		return nil, fmt.Errorf("this peer has no benchmark %s", c.What)
	}
	elapsed, err := work(c)
	return answer{"seconds": elapsed.Seconds()}, err
}

// benchExchanges encapsulates, decapsulates, and does the same for the response.
func benchExchanges(c command) (time.Duration, error) {
	pair, err := newKeyPair(c)
	if err != nil {
		return 0, err
	}
	encoded, err := pair.KeyConfig.MarshalBinary()
	if err != nil {
		return 0, err
	}
	data := bytes.Repeat([]byte("a"), c.Size)
	begin := time.Now()
	for range c.Iterations {
		if err := benchExchange(pair, encoded, data); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

func benchExchange(pair ohttp.KeyPair, encoded, data []byte) error {
	var config ohttp.KeyConfig
	if err := config.UnmarshalBinary(encoded); err != nil {
		return err
	}
	sealer, err := sealRequest(config, bytes.NewReader(data), false)
	if err != nil {
		return err
	}
	encRequest, err := io.ReadAll(sealer)
	if err != nil {
		return err
	}
	opener, err := openRequest(pair, bytes.NewReader(encRequest), false)
	if err != nil {
		return err
	}
	request, err := io.ReadAll(opener)
	if err != nil {
		return err
	}
	mediaType := ohttpbhttp.ResponseMediaType.Bytes()
	responseSealer, err := opener.NewResponseSealer(bytes.NewReader(request), mediaType)
	if err != nil {
		return err
	}
	encResponse, err := io.ReadAll(responseSealer)
	if err != nil {
		return err
	}
	responseOpener, err := sealer.NewResponseOpener(bytes.NewReader(encResponse), mediaType)
	if err != nil {
		return err
	}
	response, err := io.ReadAll(responseOpener)
	if err == nil && len(response) != len(data) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// benchStream sends one long chunked request and reads it on the other end, chunk by chunk.
func benchStream(c command) (time.Duration, error) {
	pair, err := newKeyPair(c)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	length := twoway.WithMaxChunkPlaintextLen(c.Chunk)
	sealer, err := sealRequest(pair.KeyConfig, io.LimitReader(letters{}, int64(c.Size)), true, length)
	if err != nil {
		return 0, err
	}
	opener, err := openRequest(pair, sealer, true, length, twoway.WithInitialChunkBufferLen(c.Chunk))
	if err != nil {
		return 0, err
	}
	received, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, opener, make([]byte, c.Chunk))
	elapsed := time.Since(begin)
	if err == nil && received != int64(c.Size) {
		err = io.ErrUnexpectedEOF
	}
	return elapsed, err
}

// letters is endless plaintext that costs nothing to make: the buffer keeps what was there.
type letters struct{}

func (letters) Read(p []byte) (int, error) { return len(p), nil }

// benchBinary encodes and decodes a request.
func benchBinary(c command) (time.Duration, error) {
	request := message{
		Method:    "POST",
		Scheme:    "https",
		Authority: "example.com",
		Path:      "/v1/chat/completions",
		Headers:   [][2]string{{"content-type", "application/json"}, {"accept", "text/event-stream"}},
		Content:   bytes.Repeat([]byte("a"), c.Size),
	}
	begin := time.Now()
	for range c.Iterations {
		encoded, err := encodeMessage(request, false)
		if err != nil {
			return 0, err
		}
		data, err := io.ReadAll(encoded)
		if err != nil {
			return 0, err
		}
		decoded, err := new(bhttp.RequestDecoder).DecodeRequest(context.Background(), bytes.NewReader(data))
		if err != nil {
			return 0, err
		}
		if _, err := io.ReadAll(decoded.Body); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}
