module confsec.invalid/interop-pat

go 1.25.4

require confsec.invalid/interop v0.0.0

replace confsec.invalid/interop => ../go
