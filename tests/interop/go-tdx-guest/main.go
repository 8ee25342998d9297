// A peer for confsec's interop tests and benchmarks, made from github.com/google/go-tdx-guest: quotes of TDX, version 4.
//
// The README one folder up lists the commands. Evidence has "quote", the bodies "tcb-info" and "qe-identity" as Intel's
// service writes them, the chain of their signer "signer-chain" and that of the revocation list "pck-crl-chain" in PEM,
// and "pck-crl" and "root-crl" in DER. The root that is trusted is the last certificate of "signer-chain".
//
// The module compares the FMSPC of the TCB info with lower-case digits, so it refuses collateral in which Intel wrote it
// in capitals, as it does today. So the peer also hands out the sample that the module comes with. Its platform reaches
// no TCB level, which is what verification ends with when all signatures were checked: "refusal" expects that.
package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-tdx-guest/abi"
	tdxpb "github.com/google/go-tdx-guest/proto/tdx"
	sampledata "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"
	"github.com/google/go-tdx-guest/validate"
	"github.com/google/go-tdx-guest/verify"
	"github.com/google/logger"

	"confsec.invalid/interop/peer"
)

// carrier hands out collateral, in place of Intel's service.
type carrier map[string]peer.Octets

func (c carrier) Get(address string) (map[string][]string, []byte, error) {
	chain := func(field, name string) map[string][]string {
		return map[string][]string{field: {url.QueryEscape(string(c[name]))}}
	}
	switch {
	case strings.Contains(address, "/tcb?"):
		return chain("Tcb-Info-Issuer-Chain", "signer-chain"), c["tcb-info"], nil
	case strings.Contains(address, "/qe/identity"):
		return chain("Sgx-Enclave-Identity-Issuer-Chain", "signer-chain"), c["qe-identity"], nil
	case strings.Contains(address, "/pckcrl?"):
		return chain("Sgx-Pck-Crl-Issuer-Chain", "pck-crl-chain"), c["pck-crl"], nil
	default:
		return nil, c["root-crl"], nil
	}
}

func main() {
	logger.Init("peer", false, false, io.Discard) // else it writes between our answers
	peer.Serve(peer.Ops{"appraise": appraise, "bench": bench, "sample": sample})
}

func read(c peer.Command) (*tdxpb.QuoteV4, error) {
	quote, err := abi.QuoteToProto(c.Evidence["quote"])
	if err != nil {
		return nil, err
	}
	found, ok := quote.(*tdxpb.QuoteV4)
	if !ok {
		return nil, fmt.Errorf("this peer has no quotes of type %T", quote)
	}
	return found, nil
}

func verifyQuote(c peer.Command) error {
	quote, err := read(c)
	if err != nil {
		return err
	}
	root, err := rootOf(c.Evidence["signer-chain"])
	if err != nil {
		return err
	}
	err = verify.TdxQuote(quote, &verify.Options{
		TrustedRoots:     root,
		CheckRevocations: true,
		GetCollateral:    true,
		Getter:           carrier(c.Evidence),
		Now:              time.Unix(c.At, 0),
	})
	if c.Refusal == "" {
		return err
	}
	if err == nil || !strings.Contains(err.Error(), c.Refusal) {
		return fmt.Errorf("not refused as it should be: %w", err)
	}
	return nil
}

func rootOf(chain []byte) (*x509.CertPool, error) {
	begin := strings.LastIndex(string(chain), "-----BEGIN CERTIFICATE-----")
	pool := x509.NewCertPool()
	if begin < 0 || !pool.AppendCertsFromPEM(chain[begin:]) {
		return nil, errors.New("there is no root in the chain of the signer")
	}
	return pool, nil
}

func validateQuote(c peer.Command) error {
	quote, err := read(c)
	if err != nil {
		return err
	}
	body := quote.TdQuoteBody
	return validate.TdxQuote(quote, &validate.Options{
		HeaderOptions: validate.HeaderOptions{QeVendorID: quote.Header.QeVendorId},
		TdQuoteBodyOptions: validate.TdQuoteBodyOptions{
			MinimumTeeTcbSvn: make([]byte, len(body.TeeTcbSvn)),
			MrSeam:           body.MrSeam,
			TdAttributes:     body.TdAttributes,
			Xfam:             body.Xfam,
			MrTd:             body.MrTd,
			Rtmrs:            body.Rtmrs,
			ReportData:       body.ReportData,
		},
	})
}

func steps() map[string]func(peer.Command) error {
	return map[string]func(peer.Command) error{"verify": verifyQuote, "validate": validateQuote}
}

func appraise(c peer.Command) (peer.Answer, error) {
	if err := verifyQuote(c); err != nil {
		return nil, err
	}
	return peer.Answer{}, validateQuote(c)
}

// sample returns the evidence that the module tests itself with. It is of July 2023.
func sample(peer.Command) (peer.Answer, error) {
	chain := func(header map[string][]string, field string) peer.Octets {
		text, _ := url.QueryUnescape(header[field][0])
		return peer.Octets(text)
	}
	return peer.Answer{"evidence": map[string]peer.Octets{
		"quote":         testdata.RawQuote,
		"tcb-info":      testdata.TcbInfoBody,
		"qe-identity":   testdata.QeIdentityBody,
		"signer-chain":  chain(sampledata.TcbInfoHeader, "Tcb-Info-Issuer-Chain"),
		"pck-crl":       testdata.PckCrlBody,
		"pck-crl-chain": chain(sampledata.PckCrlHeader, "Sgx-Pck-Crl-Issuer-Chain"),
		"root-crl":      testdata.RootCrlBody,
	}}, nil
}

// bench times one of the two steps, as often as it is told, from the bytes of the quote on.
func bench(c peer.Command) (peer.Answer, error) {
	step, found := steps()[c.What]
	if !found {
		return nil, fmt.Errorf("this peer has no benchmark %s", c.What)
	}
	begin := time.Now()
	for range c.Iterations {
		if err := step(c); err != nil {
			return nil, err
		}
	}
	return peer.Answer{"seconds": time.Since(begin).Seconds()}, nil
}
