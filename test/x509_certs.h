/*
 * x509_certs.h: certificates made by OpenSSL 3.0.22, "openssl req -new -x509" with a
 * configuration that lists the extensions; version 1 by "openssl x509 -req".
 * Their private keys are gone.
 */

/* RSA, a name and the wildcard below it */
static const char rsa_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIDGTCCAgGgAwIBAgIBATANBgkqhkiG9w0BAQsFADAdMRswGQYDVQQDDBJ0dW5u\n"
    "ZWwuZXhhbXBsZS5vcmcwHhcNMjYxMTIxMTYwMzM2WhcNMzYxMTE4MTYwMzM2WjAd\n"
    "MRswGQYDVQQDDBJ0dW5uZWwuZXhhbXBsZS5vcmcwggEiMA0GCSqGSIb3DQEBAQUA\n"
    "A4IBDwAwggEKAoIBAQC2Z1B12kS5JvXGFukRto8unXT4nLZPi+Xl5o6Hw0arbDp8\n"
    "WztlhcxvXj5d8ONYpPNJdKD5rCdwO16kn+GEWgor0ir+zVmnFAjeZUFtGhZlesI0\n"
    "8BnVntqRtQ3CFE/sz9eiA7IEt+DghVLEtTpLO4JJo8+vXQf5kmQGhA1Rh8W7buTo\n"
    "Fgb6peV99eP18QeDIgsLmRnMKVTGIp3pebTFU97MonHzyMNx12166qDn4Zl1NRpq\n"
    "kz9hp5AdFhshoqdmNrCv1hO+zkst/Yd+uixbXR/S2QJuBCCC1hEGoMIKdQX9lTL+\n"
    "o8JPFdAIgK0mMXjJIVZF1kZHuvZxO6JHBfdRdVZdAgMBAAGjZDBiMAwGA1UdEwEB\n"
    "/wQCMAAwMwYDVR0RBCwwKoISdHVubmVsLmV4YW1wbGUub3JnghQqLnR1bm5lbC5l\n"
    "eGFtcGxlLm9yZzAdBgNVHQ4EFgQU2t3mZbprrbXRww/mpiYDj/hQ1P4wDQYJKoZI\n"
    "hvcNAQELBQADggEBAHCvhQoAKDeZIX9lxEKT2QYnxdx6M3Zfibwd1wCq7psow0oU\n"
    "TFKSdbuxIN8mw5lrzj3CEwLn6ft0JrhCjRY5dBYq1SdXASJycWeL1cJ9nApRzpxV\n"
    "5Jh5zqelRrAUV1yXR2nGDlHVV5ITGu9SOf33JTEfbWrSPWrrpcYp8koH1NCrw9f6\n"
    "l7Sf+XkMCMXUpmDRIs/sOC5/CMuPE87BZxnkEHuLasU1wSF/ZpcoUm6RibX84pw6\n"
    "hurUKK4A+rUdVwBnp5OkGjxynthrWt6YY06wK+Mx4x0VP+IcMnNHAFpJLicmEz8C\n"
    "3ZZVBH4JYZ9qxKzqdBShY62b7N7eGKkgkKM/pww=\n"
    "-----END CERTIFICATE-----\n";

/* P-256; names, a wildcard and addresses of both kinds; the largest serialNumber; two CNs */
static const char wild_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIICAzCCAamgAwIBAgIUf/////////////////////////8wCgYIKoZIzj0EAwIw\n"
    "QjELMAkGA1UEBhMCREUxEDAOBgNVBAoMB0V4YW1wbGUxDjAMBgNVBAMMBWZpcnN0\n"
    "MREwDwYDVQQDDAhsYXN0IG9uZTAeFw0yNjExMjExNjAzMzZaFw0yNzAyMTkxNjAz\n"
    "MzZaMEIxCzAJBgNVBAYTAkRFMRAwDgYDVQQKDAdFeGFtcGxlMQ4wDAYDVQQDDAVm\n"
    "aXJzdDERMA8GA1UEAwwIbGFzdCBvbmUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n"
    "AATRHNpmYO9k1AsNRBq0QZddlOCk/wCk0ZWh3TJoR2ldnijQ66wPWQekYqwBdR5K\n"
    "QIdz8AualGtRU7bLz3l8yvqjo30wezBaBgNVHREEUzBRggtleGFtcGxlLm9yZ4IN\n"
    "Ki5FeGFtcGxlLm9yZ4cEwAACAYcQIAENuAAAAAAAAAAAAAAACocQAAAAAAAAAAAA\n"
    "AP//wAACAoIJbG9jYWxob3N0MB0GA1UdDgQWBBQfRu+MjsOGwaWcJ/1QO7vAMxa4\n"
    "6jAKBggqhkjOPQQDAgNIADBFAiEApzjNxSLRNY89djWtpwHp8UuW5F7nNsrUaYl2\n"
    "S49mKroCIDX5CwczzwKmXRlMgUev5oQ3zb+StZUcgyPjw38hezq9\n"
    "-----END CERTIFICATE-----\n";

/* P-256; many names, of every kind, good and bad; no CN */
static const char many_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIC8jCCApegAwIBAgIUTDvLnezSFyZ45ZuWA0hsivzAupgwCgYIKoZIzj0EAwIw\n"
    "FTETMBEGA1UECgwKTm8gQ04gaGVyZTAeFw0yNjExMjExNjAzMzZaFw0yNzEyMjMx\n"
    "NjAzMzZaMBUxEzARBgNVBAoMCk5vIENOIGhlcmUwWTATBgcqhkjOPQIBBggqhkjO\n"
    "PQMBBwNCAATxT818PSuG3K6GcK9rulLVrmwA4Wmpx1oPEraoNNWsAaf2OVMezu2K\n"
    "5ox4y+Baxq7Z5lhOSx+lvuhKc+cOxMDxo4IBwzCCAb8wggGcBgNVHREEggGTMIIB\n"
    "j4INYS5leGFtcGxlLm5ldIINYi5leGFtcGxlLm5ldIINYy5leGFtcGxlLm5ldIIN\n"
    "ZC5leGFtcGxlLm5ldIINZS5leGFtcGxlLm5ldIEQcG9zdEBleGFtcGxlLm5ldIYY\n"
    "aHR0cHM6Ly91cmkuZXhhbXBsZS5uZXQvoBoGAyoDBKATDBFvdGhlci5leGFtcGxl\n"
    "Lm5ldKQcMBoxGDAWBgNVBAMMD2Rpci5leGFtcGxlLm5ldIgDKgMEghl4bi0tYmNo\n"
    "ZXIta3ZhLmV4YW1wbGUubmV0ghsqLnhuLS1iY2hlci1rdmEuZXhhbXBsZS5uZXSC\n"
    "DncqLmV4YW1wbGUubmV0ggEqggUqLm5ldIIPKi4qLmV4YW1wbGUubmV0gg9hLiou\n"
    "ZXhhbXBsZS5uZXSCEGRvdC5leGFtcGxlLm5ldC6CF3VuZGVyX3Njb3JlLmV4YW1w\n"
    "bGUubmV0ggkxOTIuMC4yLjeCEGxhc3QuZXhhbXBsZS5uZXSCEiouZG90LmV4YW1w\n"
    "bGUubmV0LoIHKi4wLjIuNzAdBgNVHQ4EFgQUpMeLaFqtUomq1infKdUrxKK8U54w\n"
    "CgYIKoZIzj0EAwIDSQAwRgIhAJ5LtR2PRby0trmxbPEn5gKmCrx6PzWnoIQy1Gwa\n"
    "bOmAAiEAjXIT68B95GXwx0iWHvcQ/hgFps2nh7HGql4V5hqcs8U=\n"
    "-----END CERTIFICATE-----\n";

/* Ed25519; no subject; subjectAltName critical, behind extensions nobody knows */
static const char crit_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBXTCCAQ+gAwIBAgIUQX4ZgRwBShiOMxIy+iQ1uR9SuikwBQYDK2VwMAAwHhcN\n"
    "MjYxMTIxMTYwMzM2WhcNMjYxMjIxMTYwMzM2WjAAMCowBQYDK2VwAyEAabv5CflF\n"
    "tWVVuJ3QSA9lM6CXTBYPt2aDFJ7Q2IOGZE+jgZowgZcwIgYJKwYBBAGDsgMBBBUM\n"
    "E3Vua25vd24uZXhhbXBsZS5vcmcwJQYJKwYBBAGDsgMCAQH/BBUME3Vua25vd24u\n"
    "ZXhhbXBsZS5vcmcwHgYDVR0RAQH/BBQwEoIQY3JpdC5leGFtcGxlLm9yZzALBgNV\n"
    "HQ8EBAMCB4AwHQYDVR0OBBYEFCsEY43tBfA9WMQWeJn45V0wP7WvMAUGAytlcANB\n"
    "ABOs015hs2GvBhyDlZGlPkB5QH+LhTK/s/yESDKFdCgL8ptFBFPQsXPqGPN2vOfD\n"
    "xwojyT44jdqY6iGUfKSl9wE=\n"
    "-----END CERTIFICATE-----\n";

/* P-256; good until 2059: GeneralizedTime */
static const char late_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBeDCCAR6gAwIBAgIUPUK6/vYWSE/QYazKadSJfPl0L4swCgYIKoZIzj0EAwIw\n"
    "GzEZMBcGA1UEAwwQbGF0ZS5leGFtcGxlLm9yZzAgFw0yNjExMjExNjAzMzZaGA8y\n"
    "MDU5MDkyOTE2MDMzNlowGzEZMBcGA1UEAwwQbGF0ZS5leGFtcGxlLm9yZzBZMBMG\n"
    "ByqGSM49AgEGCCqGSM49AwEHA0IABMkrP/HpzkMlYFuOEo5xi/3j2G7KuMuntzTL\n"
    "RJCqrstOZe541HHzzHZGxosolNe4azf02NnAYDYC/zp627F3bxGjPjA8MBsGA1Ud\n"
    "EQQUMBKCEGxhdGUuZXhhbXBsZS5vcmcwHQYDVR0OBBYEFOf2TwZgn5Qcut/ieSfZ\n"
    "nL1Rmq0DMAoGCCqGSM49BAMCA0gAMEUCIDHVQXnh+y3NZZtJLkcDhdPPSbQUYM1y\n"
    "Kut8oMpyzYYnAiEAsXlSDtDfrd6Mtij2GONnKhmEuRb7aY2ibGJaut7tCGc=\n"
    "-----END CERTIFICATE-----\n";

/* P-256; a CN, but no subjectAltName */
static const char nosan_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBZTCCAQygAwIBAgIUZ59AWgp0jwXmtdFdMcnj2n8ElAowCgYIKoZIzj0EAwIw\n"
    "HDEaMBgGA1UEAwwRbm9zYW4uZXhhbXBsZS5vcmcwHhcNMjYxMTIxMTYwMzM2WhcN\n"
    "MjYxMjIxMTYwMzM2WjAcMRowGAYDVQQDDBFub3Nhbi5leGFtcGxlLm9yZzBZMBMG\n"
    "ByqGSM49AgEGCCqGSM49AwEHA0IABEfnz1gAa3CBUwUAfs9KfeTpYkwedDOXTEaZ\n"
    "mZ/OrDShsKxqV5e1Mw5qKPh0M3+laSeyztJd6+sLpCSIbAvlyWmjLDAqMAkGA1Ud\n"
    "EwQCMAAwHQYDVR0OBBYEFNwt2hGL3a8sd+a8Z+rvwC09HQKgMAoGCCqGSM49BAMC\n"
    "A0cAMEQCIDZRBxsUXERz+GlnUAXd5bnO14RtLbIqYK5lx/UkCHbwAiAdmJCubhSb\n"
    "afnfWhiwzjDwtzGGhijvdDrK6L9GaGTq9w==\n"
    "-----END CERTIFICATE-----\n";

/* P-256; version 1 */
static const char v1_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBLDCB0wIUWzyxyboJDhnLuk+eE3XKH3YaZTgwCgYIKoZIzj0EAwIwGTEXMBUG\n"
    "A1UEAwwOdjEuZXhhbXBsZS5vcmcwHhcNMjYxMTIxMTYwMzM2WhcNMjYxMjIxMTYw\n"
    "MzM2WjAZMRcwFQYDVQQDDA52MS5leGFtcGxlLm9yZzBZMBMGByqGSM49AgEGCCqG\n"
    "SM49AwEHA0IABKv2E0X79IKMcrjkj9iQcEDzrvVd8hbZdy6oNpXlTKejLrN/mg7T\n"
    "8U3a5dSCTtOKoBVyd/0nqBXsCnMtgs/btqswCgYIKoZIzj0EAwIDSAAwRQIgNinq\n"
    "AtkamOB9TuqDDzfVPigKdgQmdhrelCBKzqHPL3ACIQC/z1Y/qWzsF0Vhi0He5wpL\n"
    "xcRNyedy72LzoWtW00pE7A==\n"
    "-----END CERTIFICATE-----\n";
