// A peer for confsec's interop tests and benchmarks, made from github.com/google/go-sev-guest: reports of SEV-SNP.
//
// The README one folder up lists the commands. Evidence has "report", "vcek", "ask", "ark" and "crl", all but the report
// in DER. The module trusts the ASK and ARK that are built into it; those of the evidence it only carries.
package main

import (
	"fmt"
	"io"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/logger"

	"confsec.invalid/interop/peer"
)

// carrier hands out the revocation list, in place of AMD's server.
type carrier []byte

func (c carrier) Get(string) ([]byte, error) { return c, nil }

func main() {
	logger.Init("peer", false, false, io.Discard) // else it writes between our answers
	peer.Serve(peer.Ops{"appraise": appraise, "bench": bench})
}

// read takes the report apart and puts its certificates beside it.
func read(c peer.Command) (*sevsnp.Attestation, error) {
	report, err := abi.ReportToProto(c.Evidence["report"])
	if err != nil {
		return nil, err
	}
	return &sevsnp.Attestation{
		Report: report,
		CertificateChain: &sevsnp.CertificateChain{
			VcekCert: c.Evidence["vcek"],
			AskCert:  c.Evidence["ask"],
			ArkCert:  c.Evidence["ark"],
		},
	}, nil
}

func verifyReport(c peer.Command) error {
	attestation, err := read(c)
	if err != nil {
		return err
	}
	return verify.SnpAttestation(attestation, &verify.Options{
		CheckRevocations:    true,
		DisableCertFetching: true,
		Getter:              carrier(c.Evidence["crl"]),
		Now:                 time.Unix(c.At, 0),
	})
}

func validateReport(c peer.Command) error {
	attestation, err := read(c)
	if err != nil {
		return err
	}
	vmpl, report := 0, attestation.Report
	return validate.SnpAttestation(attestation, &validate.Options{
		GuestPolicy: abi.SnpPolicy{SMT: true, MigrateMA: true, CXLAllowed: true},
		Measurement: report.Measurement,
		HostData:    report.HostData,
		ReportData:  report.ReportData,
		VMPL:        &vmpl,
	})
}

func steps() map[string]func(peer.Command) error {
	return map[string]func(peer.Command) error{"verify": verifyReport, "validate": validateReport}
}

func appraise(c peer.Command) (peer.Answer, error) {
	if err := verifyReport(c); err != nil {
		return nil, err
	}
	return peer.Answer{}, validateReport(c)
}

// bench times one of the two steps, as often as it is told, from the bytes of the report on.
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
