package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/openpcc/bhttp"
)

// message is a request or a response as JSON. The library goes through net/http, which knows no informational ones.
type message struct {
	Method    string `json:"method,omitempty"`
	Scheme    string `json:"scheme,omitempty"`
	Authority string `json:"authority,omitempty"`
	Path      string `json:"path,omitempty"`

	Status int `json:"status,omitempty"`

	Headers  [][2]string `json:"headers"`
	Content  octets      `json:"content"`
	Trailers [][2]string `json:"trailers"`
}

func bhttpDecode(c command) (answer, error) {
	var encoded octets
	if err := json.Unmarshal(c.Message, &encoded); err != nil {
		return nil, err
	}
	if c.Kind == "request" {
		return decodeRequest(encoded)
	}
	return decodeResponse(encoded)
}

func decodeRequest(encoded []byte) (answer, error) {
	var control bhttp.RequestControlData
	decoder := bhttp.RequestDecoder{MapFunc: func(ctx context.Context, r *bhttp.Request) (*http.Request, error) {
		control = r.ControlData // net/http keeps no scheme
		return bhttp.DefaultRequestToHTTP(ctx, r)
	}}
	r, err := decoder.DecodeRequest(context.Background(), bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r.Body)
	return answer{"message": message{
		Method:    r.Method,
		Scheme:    string(control.Scheme),
		Authority: r.Host,
		Path:      r.URL.RequestURI(),
		Headers:   toPairs(r.Header),
		Content:   content,
		Trailers:  toPairs(r.Trailer),
	}}, err
}

func decodeResponse(encoded []byte) (answer, error) {
	r, err := new(bhttp.ResponseDecoder).DecodeResponse(context.Background(), bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r.Body)
	return answer{"message": message{
		Status:   r.StatusCode,
		Headers:  toPairs(r.Header),
		Content:  content,
		Trailers: toPairs(r.Trailer),
	}}, err
}

func bhttpEncode(c command) (answer, error) {
	var m message
	if err := json.Unmarshal(c.Message, &m); err != nil {
		return nil, err
	}
	encoded, err := encodeMessage(m, c.Indeterminate)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(encoded)
	return answer{"message": octets(data)}, err
}

func encodeMessage(m message, indeterminate bool) (*bhttp.Message, error) {
	// net/http has trailers only where the length is not known.
	if len(m.Trailers) > 0 && !indeterminate {
		return nil, errors.New("this peer has no trailers in messages of known length")
	}
	length := int64(len(m.Content))
	if indeterminate {
		length = -1
	}
	body := io.NopCloser(bytes.NewReader(m.Content))
	if m.Status != 0 {
		return new(bhttp.ResponseEncoder).EncodeResponse(&http.Response{
			StatusCode:    m.Status,
			Header:        toHeader(m.Headers),
			Body:          body,
			ContentLength: length,
			Trailer:       toHeader(m.Trailers),
		})
	}
	target, err := url.Parse(m.Scheme + "://" + m.Authority + m.Path)
	if err != nil {
		return nil, err
	}
	r := &http.Request{
		Method:        m.Method,
		URL:           target,
		Host:          m.Authority,
		Header:        toHeader(m.Headers),
		Body:          body,
		ContentLength: length,
		Trailer:       toHeader(m.Trailers),
	}
	if indeterminate {
		r.TransferEncoding = []string{"chunked"}
	}
	return new(bhttp.RequestEncoder).EncodeRequest(r)
}

func toHeader(pairs [][2]string) http.Header {
	header := make(http.Header)
	for _, pair := range pairs {
		header.Add(pair[0], pair[1])
	}
	return header
}

func toPairs(header http.Header) [][2]string {
	pairs := [][2]string{}
	for name, values := range header {
		for _, value := range values {
			pairs = append(pairs, [2]string{strings.ToLower(name), value})
		}
	}
	return pairs
}
