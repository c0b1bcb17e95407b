/* jwt_vectors.h: keys and tokens made by PyJWT 2.6 and Python's cryptography 38, for tests alone. */

static const char hs_secret[] = "a secret of forty bytes, for tests alone";

static const char rsa_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApJ2NwtL55RH/atyTbg25\n"
    "lVvxU82yrrh55vMXdebUNG6iIm6xbDXapqt+1i/ydfHZrVjzoWMizzBJ8QSOsbx8\n"
    "T8K54nH1Dn3pTqppcp2yTVDY3H++OrcllA5JN9s0VOIguQ0jmYzc+7OQw/ti2MpN\n"
    "EtJ6XK21PevgLD6lhBdS/VL4bXC/8rJGJvSTyDWHaZ/KaZ2NOtj6R4iZHdzQqNNE\n"
    "igqIAjmvEvK5MWBrlZRumR8KS9cIGOnv6xCWuHBJmuBWbE+zy87PzLuNyFp/aVN2\n"
    "xTOru4Qn1FCrMVdWTtoiYzV6LeCYL7R4RPHjSWuZngPLEqn9NMJ9NBab1msBHyoz\n"
    "AQIDAQAB\n"
    "-----END PUBLIC KEY-----\n";

static const char rsa4096_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAxOL1cevdJiMdpSRXxyEh\n"
    "LlrXGhL/1rTs6DQNaVulkYPQSjabdRExOAEo7cv2Szfl8UotM3CdcPvotza4qNSP\n"
    "jHr1STA0bYxaC/FoX2G1EcWhyTGtasjnEq4mun/6zN1H8l6kJpUH7i9ssjojoBmB\n"
    "o4h0cWXarA1QUBT+MrZzYDRbqMRk9PIbNGhMqkqy+eyybyU/OCHh99eThtTf8iLr\n"
    "xwgoDDAI3LOvmtGI2eWlFQS2LDHCr/y5sHcKVz2E33jnFAviZOsbVm9sSaHdTPqz\n"
    "moXFyDUpgLJs9IYc5pWTJBaEt3/W+KOkMEQlpx0VxNEom7jH/185RiTxOljUHFHv\n"
    "BMan0SFFGI4ADF59+lbOkqwsI7T2JmcbpPowU1pPNpyescbSpcUNAZxdIn0FTLQM\n"
    "y1BCLs5rBC0W29KTCNLPdclyQKm9ebKDCIdgDv+tRJv56yUNhFDidZ7DtgHwEEy1\n"
    "oig/IJoMHoteO1Hh19UVBKlznIhz47ft1rSaJs1h3zzcpSXSQ09kj/eGZySm/Hal\n"
    "lkRvZej6klQPcKn0ck8L4KreXqVRgrSfZiUHs9CLo73mW5q6o16EPglgjZ6ZJrn9\n"
    "6Jj3DzOgwlbmLxZPpHxPoOnQGP3cUYCyoie59hTdgDzOMa9YAg0mijaGVRRMiyUn\n"
    "QVDgjHCKOvfhnA/NiJ4Z3CECAwEAAQ==\n"
    "-----END PUBLIC KEY-----\n";

static const char rsa3_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAtZF/R50zTfCjgTt1ETQT\n"
    "5VHl8UqaUbSoaLtzQcJE7TuN2AaGrkBNN5PwAqACpbXVVu4xlhHbH9nWKp5lHFfX\n"
    "Iqv3gefZumcxPYK6y/uchQWAJoEHA7VEtZMmumRfilZIgty41lR0F02pcbfW9rfN\n"
    "En8uiVFH/xgTpJJHjhwci3nkxQDYI1rFsK5K86Vt9iwRR7cdLfQ/P3ksYi//zZJE\n"
    "5vwTSCoUes5Tg44wIZcQiiLdOsowTATYacRw8C3r3SlJcsHZ7zHP2TVwB+/rU1CD\n"
    "max295jRJw7YyPvDAP9VSrS6rqcBqmzPvfGHw0PjxmMopmCtsBmkoWZWKUUvryZV\n"
    "nQIBAw==\n"
    "-----END PUBLIC KEY-----\n";

static const char weak_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCtVAlFAwyBxGchKsn5ogk5ICtE\n"
    "Ueh60tCmThMmzTNBcsXd4hvfH0QBCBt4JOOrZwNTr7gXRfGQ42YgvoGbfsLERCp7\n"
    "MV+tDRjNuyuhSwmHisKFW7JpjgoJCh4jBfkw+QqB6TEjvz9DsU/yrA+EJJDblmls\n"
    "NDibnyFlWom8RB4EjwIDAQAB\n"
    "-----END PUBLIC KEY-----\n";

static const char rsa_pkcs1_pem[] =
    "-----BEGIN RSA PUBLIC KEY-----\n"
    "MIIBCgKCAQEApJ2NwtL55RH/atyTbg25lVvxU82yrrh55vMXdebUNG6iIm6xbDXa\n"
    "pqt+1i/ydfHZrVjzoWMizzBJ8QSOsbx8T8K54nH1Dn3pTqppcp2yTVDY3H++Orcl\n"
    "lA5JN9s0VOIguQ0jmYzc+7OQw/ti2MpNEtJ6XK21PevgLD6lhBdS/VL4bXC/8rJG\n"
    "JvSTyDWHaZ/KaZ2NOtj6R4iZHdzQqNNEigqIAjmvEvK5MWBrlZRumR8KS9cIGOnv\n"
    "6xCWuHBJmuBWbE+zy87PzLuNyFp/aVN2xTOru4Qn1FCrMVdWTtoiYzV6LeCYL7R4\n"
    "RPHjSWuZngPLEqn9NMJ9NBab1msBHyozAQIDAQAB\n"
    "-----END RSA PUBLIC KEY-----\n";

static const char ec_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEooeJE9rDdzsetQmduoPwh9kQ1n0B\n"
    "hm97GI2/aTtSsyCpeRrnl6CRkqsO70+ILbq4pL4RLvV/xhVLVzqe1T7LVg==\n"
    "-----END PUBLIC KEY-----\n";

static const char ec384_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEiJHWvksC8k2iD2NtFt0DtzW8Sh6xAyzn\n"
    "cFb7fGyBkZkcgLa3NM1SfS3cUwSzSVe4Wwotd3c9rp2kmK+6VewTdY8/MUqjvzn7\n"
    "cDCQY7+P7qIxR//gryf0MNkh+yMy/syM\n"
    "-----END PUBLIC KEY-----\n";

static const char ed_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA4OOaPXsldaAPg11azAiU4UdHsAJAfHGFqkudwdSm5oU=\n"
    "-----END PUBLIC KEY-----\n";

static const char ec_cert_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBCDCBr6ADAgECAgEHMAoGCCqGSM49BAMCMA4xDDAKBgNVBAMMA2p3dDAeFw0y\n"
    "NjAxMDEwMDAwMDBaFw0zNjAxMDEwMDAwMDBaMA4xDDAKBgNVBAMMA2p3dDBZMBMG\n"
    "ByqGSM49AgEGCCqGSM49AwEHA0IABKKHiRPaw3c7HrUJnbqD8IfZENZ9AYZvexiN\n"
    "v2k7UrMgqXka55egkZKrDu9PiC26uKS+ES71f8YVS1c6ntU+y1YwCgYIKoZIzj0E\n"
    "AwIDSAAwRQIgbX6o8jJxjH2OZ1WuIZpxzPBgGPF2O3SsA20d+OySJYYCIQDNt56s\n"
    "8/DjdyJ3PmaEzmztkrYKgwgcNe0Cg/1bFJAMVA==\n"
    "-----END CERTIFICATE-----\n";

static const char rsa_n[] =
    "pJ2NwtL55RH_atyTbg25lVvxU82yrrh55vMXdebUNG6iIm6xbDXapqt-1i_ydfHZrVjzoWMizzBJ8QSOsbx8T8K54nH1Dn3pTqpp"
    "cp2yTVDY3H--OrcllA5JN9s0VOIguQ0jmYzc-7OQw_ti2MpNEtJ6XK21PevgLD6lhBdS_VL4bXC_8rJGJvSTyDWHaZ_KaZ2NOtj6"
    "R4iZHdzQqNNEigqIAjmvEvK5MWBrlZRumR8KS9cIGOnv6xCWuHBJmuBWbE-zy87PzLuNyFp_aVN2xTOru4Qn1FCrMVdWTtoiYzV6"
    "LeCYL7R4RPHjSWuZngPLEqn9NMJ9NBab1msBHyozAQ";

static const char ec_x[] =
    "ooeJE9rDdzsetQmduoPwh9kQ1n0Bhm97GI2_aTtSsyA";

static const char ec_y[] =
    "qXka55egkZKrDu9PiC26uKS-ES71f8YVS1c6ntU-y1Y";

static const char ed_x[] =
    "4OOaPXsldaAPg11azAiU4UdHsAJAfHGFqkudwdSm5oU";

static const char hs_token[] =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2l"
    "kLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.DD4AePYpToLAdB5f7QXyC9MbO7gxe3FThxyCzn4vypI";

static const char rs_token[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2l"
    "kLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK8bPwqXrccRzj-ah7g_e0_"
    "IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cGxZweiGN2zRHRGQuOvAuFa-B3Alvazz2"
    "xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEyNchwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez"
    "5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb4bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA";

static const char rs4096_token[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2l"
    "kLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.kXfAJ-a-FejgJXHcjjF42bPNtREzlLbyQQzQlqqP_sYEJR"
    "7ZW5Jn02SrOJEC4QPTAGdCHAyCW9CslGt1OspQID_KJfHeEQAZRIZQfNHmKz8gUVZVKYv2C9_skXd3qzSmigkaZHgqnmAfctL9Xs"
    "X-c5mvOXXIV4_pWui93AdpbIqpWLRAkh7fZbXGHqu14mxX0J9JJ6f_iF3GqTDeM_TvlqNVg8MLTVjYtxm6fzDTVP20vMLqk-McBp"
    "Uchje2CJSahxjNdu8pr0RzrFlRo6eQEKiY87A6jLKCTyApeADhBciphGxooWzVN7NvOiLTppiTtLO4jkGfM8EmOTTr6HxDYTBybb"
    "6fOVp5e4hEL3TjGj2GuIdCGgwodeBmOdhWBZlpk3NOmC3TeHvVaAOd2m1YAjWKcclZiIHk6jRVvahes64O4Fx5B_aXjm3Yf098GI"
    "jsAlw7Wl3JQyyyU1v0o_R2f8sJvp8MCWFhw9S6g13H6TY5Rhx-1Zrb9r8Se0-ocXyGPW0wYMF_BngfF5Pf0senNiTvhA6cHSZxh2"
    "Wn0tI0f0jm32i9whfSIzOdVwCuqMbk32LqQBFhsysml7g-i2dKPzwwNuBpwO6c5fhWCYxPJXMTXoIuGPSHuoc-N-8UeZjYNkrqTG"
    "xfwGluW3dlkAXxPgKxe4qFPLkOyAPWAicpQkI";

static const char rs3_token[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2l"
    "kLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.E2Y37qMqBeInNX_s__lg0VcYR3l94mTlZ5uR53B8sEVEFd"
    "IVmDEKqDrR67JNSW0pywVt5lBwRXcXURZY_OFoQprR4Mk4F7ohOtSSsyRdqIPXy2RJbDccBwRCYSbR19bJN2WjOCIU-_Ep1bPjnp"
    "Y9-kQeC2GcLO2JUrm-biyV4lPGmPKLI4NwR83mCoqRUJIRcTFHXVAyrrWtkf4fbTQWqyo03jUZXd5mLNnYDWnlsjHsi2jIloA_d0"
    "fwQQKeCQdTyYoajY490kjRhjGDCZyY_RN1NsAxDDY_LMMYkdsIX0ITh4LbBFIbz8O9aosmJvq1DVqlzuRUSoOSU9N0TV501Q";

static const char rs_kid_token[] =
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImtleSAxIiwidHlwIjoiSldUIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJp"
    "c3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.NgJ6MpHOIjQ90qSCiGGqLG1JiW6"
    "x2pYX3Du6_kBL97WAr3PWAq-OcIi1e4rnPRzLTWDYTHaIqDCqCunbwYBXdWxIbGbUU80bqgbtiMQ2JdKCrmWwJ1HG7pwmUkDRpuP"
    "2BIxDbAkQKmlW4MWYeDES-DmtLqU3lqnNFJSr50sA7bSETczQYZTDHIY9ytYAxtXBdl7F6GCPZb59r0qOhhluI6NS_YqvB6bs4t1"
    "gVsv3GQQnaxrFdkXT8_ieekYcsWay0IjWFcEuAcHB831LrWpR8DrPZnHeCmaR6oKMl1eXYOWlj-RN9hFzbhuU-cH5iZ_xgy0EgVc"
    "14vndgV-OwmPbgg";

static const char es_token[] =
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2l"
    "kLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.UZ2ByP_OOmoB8pXNI6oO5K7mLjoUIi5fpGNGqPEu-FE3YI"
    "LG2UxnZWz8NNiXRnGeBsJEX2nSWyVX8d1JxOq6Og";

static const char ed_token[] =
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2l"
    "kLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.rLauimHrHfdttou-bHngZhdQYDsvD0Q78RhH1qOlr1Z9RA"
    "thLoDeBYo2rOZXvc-VNoXjxnwcWBIs9KHRT2pfAg";

static const char weak_token[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2l"
    "kLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.p5RF1SplHcBvZgTCZtUBaUjeZbyUgDLs9hCK8xwJ-9CQLM"
    "6tf3h8TZNO9baOfssstyJGjRulYqL3cmdeYk50Z6Ozuzs8QnjBk01nkOlatxuWy3dZUZjd7z-LYAMeFWhkp6MdZ1mlBJbuwikxjv"
    "2sFWb4ApGmJ0pOuuKI0nIJ3ms";

/* What all keys above together must refuse, and why. */
static const struct { const char *name, *token, *why; } attacks[] = {
	{ "HS256 with the RSA key as secret: its PEM",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.PAyfdXb6Xls2WXKesy4v8ZL8rS"
	    "dRjErZ-kcTKCvbI-k",
	    "the signature is not by a key of ours" },
	{ "HS256 with the RSA key as secret: its PEM without line end",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.6rCdp9W7h_7S-3gM1j7k9Si6-U"
	    "CBTXkCJToDmQTmAm8",
	    "the signature is not by a key of ours" },
	{ "HS256 with the RSA key as secret: its DER",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.6tWu8SCENW3_9yHTnmcRCElQfb"
	    "FHsl4xNeJLhdbVvK4",
	    "the signature is not by a key of ours" },
	{ "HS256 with the RSA key as secret: its modulus",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.xtfwGmSRPLrhCaCwAW-cAwHRcC"
	    "niYxJuzL4-HAjXQfc",
	    "the signature is not by a key of ours" },
	{ "HS256 with the RSA key as secret: no bytes",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.6809Z6VYvYzOsPBvJgnCPMiOij"
	    "oMnoVB2YSn4REi-m8",
	    "the signature is not by a key of ours" },
	{ "HS256 with the EC point as secret",
	    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.Qf_0XftgPDoc3nYdua6F15WD0wcITAZGQxYysA8WbN"
	    "E",
	    "the signature is not by a key of ours" },
	{ "alg none, no signature",
	    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW"
	    "1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.",
	    "alg is none: the token is not signed" },
	{ "alg None, no signature",
	    "eyJhbGciOiJOb25lIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW"
	    "1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.",
	    "alg is none: the token is not signed" },
	{ "alg NONE, no signature",
	    "eyJhbGciOiJOT05FIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW"
	    "1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.",
	    "alg is none: the token is not signed" },
	{ "alg nOnE, no signature",
	    "eyJhbGciOiJuT25FIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW"
	    "1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.",
	    "alg is none: the token is not signed" },
	{ "alg none with a signature",
	    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW"
	    "1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.2hoOyOQWSo5bOXRaiZ-g_U7IFPYi86NZqbgap7cPieQ",
	    "alg is none: the token is not signed" },
	{ "alg none with blanks",
	    "eyJhbGciOiJub25lICJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.mHh7UsWbwwf4uN6ATJo8xH2j6Q5cFYuOxUVYMacTBa"
	    "c",
	    "alg is not one that we know" },
	{ "alg empty",
	    "eyJhbGciOiIifQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGU"
	    "uY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.C2w7DYXGYHP5CD7RiBBPmP7-JZ3SFPGSeONPSNZ-VIo",
	    "alg is not one that we know" },
	{ "alg missing",
	    "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1"
	    "wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.8VQXG3maYSYeMYqT-fWVYpIB1DndtNQwYJ1dLbU7tuM",
	    "alg is missing" },
	{ "alg null",
	    "eyJhbGciOm51bGx9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wb"
	    "GUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.CjUmWcvi426kBoRV53EJhx2lH8Tqm4j84xcBFWb598U",
	    "alg is missing" },
	{ "alg a number",
	    "eyJhbGciOjI1Nn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbG"
	    "UuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.uH5X9cyMq_1O-Gu4N7zoBeQIITsCGY7Ss-RAfPue9T8",
	    "alg is not one that we know" },
	{ "alg an array",
	    "eyJhbGciOlsiSFMyNTYiXX0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLm"
	    "V4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.PZ40V5ATOA8oGiyqltSdGYsq_GblNkaEbGY3d8h"
	    "izJQ",
	    "alg is not one that we know" },
	{ "alg in lower case",
	    "eyJhbGciOiJoczI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.4a1z-76qHLtS8WO7_Svq-FMztAGp_l-GnUOwtJQZqd"
	    "g",
	    "alg is not one that we know" },
	{ "alg with a NUL behind it",
	    "eyJhbGciOiJIUzI1Nlx1MDAwMCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL"
	    "2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.Qm3rfxGLNYDfA92-HnD31KlFkm0e47DUN9"
	    "l_CXQYFes",
	    "alg is not one that we know" },
	{ "alg HS384",
	    "eyJhbGciOiJIUzM4NCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.ts3zEfodsEvtsQEWq5OjGT6IAGngW4XKCyddrFgjV1"
	    "k",
	    "alg is not one that we know" },
	{ "alg HS512",
	    "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.kljgXcygrR2v9PWKrXPXBOg_v83r1Ko-_C6v009tUj"
	    "E",
	    "alg is not one that we know" },
	{ "alg RS384",
	    "eyJhbGciOiJSUzM4NCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.g4ZALMh_flWfApnC3BS-M-GGuzdVZ8KhiIwdQx0o6g"
	    "I",
	    "alg is not one that we know" },
	{ "alg PS256",
	    "eyJhbGciOiJQUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.beDMdMwNBWyJF616QViXPJohiDne6A-0bT2yucPSfq"
	    "8",
	    "alg is not one that we know" },
	{ "alg ES384",
	    "eyJhbGciOiJFUzM4NCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.d7joGAxZEu80HN1pzUK2fgKDhGJejCfpLDVQGQUpgx"
	    "Q",
	    "alg is not one that we know" },
	{ "alg ES256K",
	    "eyJhbGciOiJFUzI1NksifQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV"
	    "4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.5aMDCnoc6mmDFTZxG16XefOP5eeHxtdm3WlYKzqk"
	    "j48",
	    "alg is not one that we know" },
	{ "alg twice",
	    "eyJhbGciOiJIUzI1NiIsImFsZyI6Im5vbmUifQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJ"
	    "odHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.Kjjw-kOPh3y7VXpg4vq8WVBj"
	    "d26cyBDEPedywYwNwd0",
	    "duplicate member" },
	{ "alg twice, once escaped",
	    "eyJhbGciOiJIUzI1NiIsIlx1MDA2MWxnIjoiSFMyNTYifQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJ"
	    "pc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.rzytT2viWABeCgd0"
	    "hpCAFdNeilO7BN9ESy-OdmRth7k",
	    "duplicate member" },
	{ "sub twice",
	    "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDAsInN1YiI6ImEiLCJzdWIiOiJiIn0.PDwYwWqe1__wJbaE4"
	    "CTBvCiNOJ5Sv1OqXx7QI6oVrC4",
	    "duplicate member" },
	{ "crit",
	    "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiYjY0Il0sImI2NCI6ZmFsc2V9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyN"
	    "DQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.1oWZ0a"
	    "U3mh8DIKJ2Vw6Yq1v_ap6WJCiJX5Hj-5cRRhw",
	    "crit asks for an extension that we do not know" },
	{ "crit empty",
	    "eyJhbGciOiJIUzI1NiIsImNyaXQiOltdfQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHR"
	    "wczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.QK6Y2ABlrIccp4kbEcDRCJDN8awK"
	    "UX_E3XQXLXOcQzE",
	    "crit asks for an extension that we do not know" },
	{ "RS256 token said to be ES256",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.fcEDtCsINs_X27VEOOHM0386_1hijxCmKuNfsUunDb"
	    "4I-jPQIYIZqnrJNM6S39KadQMiSEM1WqrHj-SEWkb-vJVMbCVcnAqUNjNdo_rcXHLF35T55dwTR81uDLoW7ZhCVmdd"
	    "sRU72JpnFiikjRDSJcmF1KJCgtMyrcT2XWPz23YTvWUkaI3_gr-xNKFvrb8bpfAykQlIG3qlCx5fRhTNwfp3T9Rf2r"
	    "mqivOimjd0dNCbTiVddENI4IKOcMmj-mafeIvaoYFCGCBIjBzOJUG1Kj9emUkxopnVI3-9QRPt_RRfxjp4P-u9VP-M"
	    "t31eux9SQkTOXOIoVtUqgEYURtTWNg",
	    "the signature is not by a key of ours" },
	{ "key injection: jwk in the header",
	    "eyJhbGciOiJSUzI1NiIsImp3ayI6eyJrdHkiOiJSU0EiLCJuIjoieFVKNlRhdW1RUjlCbGprUE5uS1pSaXVFUi04ZU"
	    "hIcllUb2VXVU1tMmU4ZFFQUkp1ZFN5Z2psOTdSaXdNdW5GTmgxV1ZoRXdHZXpPSVdDUEY4bnFKTkl2cVF1NjZYWVJG"
	    "MkM1bjNSQWRUOEZuM3I5bUxIMnNiX19Hc3dWbEhzbm1UX2NXZXRGdkNuaG92elM1SGt4R1FKRnlCZzRkX1VOSVN0d3"
	    "kzcXF6Uk5tSGdiRGJCV1hCNnhLZC1OT0NGT1lsY2RYbGVLQXpZZTVKdHVWUEJLcmpMaWdkU2ZkOERpOU10YlZzUE1r"
	    "cTNMYjVzZWY5WGo1dXVxbW1ZRHlscklFaEpWVmtBWDZYVmVHRDFUQk9Wd3FVMXdyUmFiMzRmZEVLbk9kaUxidEp1Ml"
	    "pKOUkzQkdQYTh6QkdnYUFndzQteUhkemE3YjZBQXRNOV9CbXlZMFRBbUxRIiwiZSI6IkFRQUIifX0.eyJzdWIiOiJk"
	    "ZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbC"
	    "IsIm90aGVyIl19.h5Gfudle_1XvLhg7GNz96cMT4X-FbIAKzwx2VEl1H6mSnO5AQ5phEzmdEU7Ezq8W9Ma_6kbdAWD"
	    "ZUXoUSAWu8B2eFq1_fi4CKsnJOMlrRmSQcyaLmJUGjpDNc1dLH7P1cOIjSy64QyGNMCHEYoqbJEQIyECBVRPwfAEeD"
	    "LNNkCVlbOIMiAWKrcRuHvzQkLTwH1ft8xtKKzXqK_cosnUv-uow85e0dA61rV0PcK0mjaBamr9jaKr_5o1a7U9op29"
	    "NrfPN3Mo7S4dXLi2YKP216z9oWVltMdArCDumwzfBN5hMYo9rU0MkZMSODL0XWMWRUmn6qmJLI3nQQusXLpOjSQ",
	    "the signature is not by a key of ours" },
	{ "key injection: jku",
	    "eyJhbGciOiJSUzI1NiIsImprdSI6Imh0dHBzOi8vZXZpbC5leGFtcGxlLmNvbS9qd2tzIn0.eyJzdWIiOiJkZW1vIi"
	    "wiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90"
	    "aGVyIl19.Ma0aNzAr8VrlzgyPKyyvgg3z3KSaDhhMEABcHgX6_IA6KpP4FpJouUhxE5ZIZPBQGUniU1gdBL4DIkWo5"
	    "YJcsmwr8HSItOLGnYBas7_aMLeJjyuCzrXwZGIxlrMqVDSm7WMXCKH2zIaMT1OACxKiGoHUXI8ITN-_BVG7eTqJHPg"
	    "nLUXb-55W2EqSNjW0p8rhCoiEX_m6_ALfcBcgML39F4GT6ZLh2W8yd8cmEUbI2hiteK8bcK4q6PDT1l2LpFGVwshIS"
	    "h4Tx0YqreaJuX5lx9I6cM3C1jlkm3l0MamHOk2n2KyLyW5BevaO8BLGhBYwDLs2YL8P9C8AVIA21h40EQ",
	    "the signature is not by a key of ours" },
	{ "key injection: x5u",
	    "eyJhbGciOiJSUzI1NiIsIng1dSI6Imh0dHBzOi8vZXZpbC5leGFtcGxlLmNvbS9jZXJ0In0.eyJzdWIiOiJkZW1vIi"
	    "wiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90"
	    "aGVyIl19.jOxnVWIKRkVRyKH5qtN0KJPE_UTggMwy35PMj5_85hhzpButmkiN57Zx_4sjwoVM09zbDo_bWW5rSOVPJ"
	    "atpOKyPUzDH1J6iOHxIjOMWY9BDTcES7mFWKdD62HRatLzS_372mfCICFuKR1OgYKMKeRJVAqjaaixgosJ07y-Z_RP"
	    "2pCpP0UGaDKoB7tef7hRZASum7KVQMi6DbJFt9F8mCaLV4Me4VqM7VbK_Sew0XHlxv96UFn7oLRZ9nIDb8icDu3fGm"
	    "iix3IJDPS_aSsJDWuxo6eQ9vHKmD98NnkynJfvoKQHdGtmXuSqMjiwGOfn79H7hDaNeWvisY4u5wfYv-Q",
	    "the signature is not by a key of ours" },
	{ "kid: a file",
	    "eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uLy4uLy4uL2Rldi9udWxsIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MT"
	    "AyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.PoQ"
	    "OUNPmAiZE1kSAfrsTe3EET4gox6Fg9cEc0bptZOU",
	    "the signature is not by a key of ours" },
	{ "kid: SQL",
	    "eyJhbGciOiJIUzI1NiIsImtpZCI6IngnIFVOSU9OIFNFTEVDVCAnYSctLSJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0M"
	    "TAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.zx"
	    "Snnc6-TOUxcx6dcGx-yZ3Cn8nC8LiloELRdnzYYrs",
	    "the signature is not by a key of ours" },
	{ "kid: a NUL",
	    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFcdTAwMDBiIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3"
	    "MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.09oguzLIilux83884-l"
	    "DpnxzFHWxPBFHbYD61GMIA90",
	    "kid is no string, or too long" },
	{ "kid: empty",
	    "eyJhbGciOiJIUzI1NiIsImtpZCI6IiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwc"
	    "zovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.ijf_nhl6jL8ev8njAmHpFKvo-GyUIS"
	    "bzhsRuG0oOKT8",
	    "kid is empty" },
	{ "kid: an object",
	    "eyJhbGciOiJIUzI1NiIsImtpZCI6e319.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwc"
	    "zovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.booIQJJMGDQIQzSb-wymwjkOAV9Q71"
	    "ng06vSL_y13l4",
	    "kid is no string, or too long" },
	{ "kid: long",
	    "eyJhbGciOiJIUzI1NiIsImtpZCI6Imtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2"
	    "tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
	    "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2"
	    "tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
	    "a2tra2tra2sifQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGU"
	    "uY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.7-elnJzVAL84bzdUH2Lfvp8tT7fZsiayzwylzInOn4M",
	    "kid is no string, or too long" },
	{ "signed by another key",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.xMqaj1iRdjWzNXn0Q_kh_tH5CL"
	    "oXt-io80oYyN-luFDLzudohnReTTUmlhNHNL-P5dfQLS6h0L5Q4DJA7BoDqip1uHRm6P0TQBMRxIt8uXjHKWmSJSTx"
	    "-Nk-C2KjGp5-KWxT8jZ2Y7QY5DVpGND4Q2_WHXHjt5ZfXflifKn1j-D3NYPzQjr3C8oo4BdRX6MCdR3ACKlDfsoD7d"
	    "WeP9xPuzm3z2qeOjqIMpOUgasywC3z-nU3xPnDYDCJaKOOvEqUQWEivs7zQUZUUbNgC57uDzpEz_XVubDcIaho207q"
	    "hiSWOaAxz1YMR58C1cT4wo-Dk71WHrDQDvoH7vh6ztGGEw",
	    "the signature is not by a key of ours" },
	{ "signed by another EC key",
	    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.TBusrAByQsn8sJ4aTID1H2bZ0f"
	    "FUCew5ZdmiJ5mN00dgbnBCNHutv1HD99ZJ0n-xQchfso52jhgN4ERys8dfWA",
	    "the signature is not by a key of ours" },
	{ "signed by another secret",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.Qu9CmNeYPe--tkWZdBgaCDf7Qf"
	    "ecRnMDFLuT9fBEnwE",
	    "the signature is not by a key of ours" },
	{ "signature stripped",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.",
	    "the signature is missing" },
	{ "signature and its dot stripped",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19",
	    "the token has not three parts" },
	{ "a part more",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK8"
	    "bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cGx"
	    "ZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEyN"
	    "chwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb4"
	    "bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA.",
	    "the token has not three parts" },
	{ "JWE, five parts",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK8"
	    "bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cGx"
	    "ZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEyN"
	    "chwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb4"
	    "bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA.a.b",
	    "the token has not three parts" },
	{ "empty",
	    "",
	    "the token has not three parts" },
	{ "two dots",
	    "..",
	    "" },
	{ "claims of another token",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiAiYWRtaW4iLCAiZXhwIjogNDEwMjQ0NDgwMCwgImlzc"
	    "yI6ICJodHRwczovL2lkLmV4YW1wbGUuY29tIiwgImF1ZCI6IFsidHVubmVsIiwgIm90aGVyIl19.IV6LP_93nLk72Q"
	    "1dxk_SmwaZK8bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9Zo"
	    "Ff-ZQz0O3cGxZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3"
	    "WBeThd2iGEyNchwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCR"
	    "GAvYS0-Q2Xb4bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA",
	    "the signature is not by a key of ours" },
	{ "signature cut by a byte",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK8"
	    "bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cGx"
	    "ZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEyN"
	    "chwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb4"
	    "bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9",
	    "the signature is not by a key of ours" },
	{ "signature cut by a letter",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK8"
	    "bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cGx"
	    "ZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEyN"
	    "chwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb4"
	    "bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9I",
	    "the signature is not base64url" },
	{ "signature padded",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK8"
	    "bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cGx"
	    "ZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEyN"
	    "chwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb4"
	    "bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA==",
	    "the signature is not base64url" },
	{ "signature in base64",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP/93nLk72Q1dxk/SmwaZK8"
	    "bPwqXrccRzj+ah7g/e0/IX9HnWZ3P5+W3MhmFw+o/laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf+ZQz0O3cGx"
	    "ZweiGN2zRHRGQuOv+uFa+B3+lvazz2xitjVcaEGYR1l2dYp4+6FzUKFFxqx+M/PLYY7jP7rYB+dxF3WBeThd2iGEyN"
	    "chwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgT+eHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRG+vYS0+Q2Xb4"
	    "bPCtzOGxUkVTu/1frjUdQOTnJ2lWqYzBF+aWynwjbYR9I+",
	    "the signature is not base64url" },
	{ "header padded",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9=.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJo"
	    "dHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK"
	    "8bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cG"
	    "xZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEy"
	    "NchwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb"
	    "4bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA",
	    "the header is not base64url" },
	{ "claims with a line end",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19\n.IV6LP_93nLk72Q1dxk_SmwaZK"
	    "8bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cG"
	    "xZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEy"
	    "NchwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb"
	    "4bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA",
	    "the claims are not base64url" },
	{ "a blank in front",
	    " eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJo"
	    "dHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.IV6LP_93nLk72Q1dxk_SmwaZK"
	    "8bPwqXrccRzj-ah7g_e0_IX9HnWZ3P5-W3MhmFw-o_laMLHSbTunMCcnpoMMjy8RT9hbUFhfXcSv9ZoFf-ZQz0O3cG"
	    "xZweiGN2zRHRGQuOvAuFa-B3Alvazz2xitjVcaEGYR1l2dYp4-6FzUKFFxqx-M_PLYY7jP7rYBAdxF3WBeThd2iGEy"
	    "NchwQiOq0IstQfd7yWcKqJflacwqP2a9xrz1028ez5DJPgTAeHs2Rj7zwPYBr1HJ4sBMIefQigZ1vCRGAvYS0-Q2Xb"
	    "4bPCtzOGxUkVTu_1frjUdQOTnJ2lWqYzBF-aWynwjbYR9IA",
	    "the header is not base64url" },
	{ "bits left over in the signature",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.DD4AePYpToLAdB5f7QXyC9MbO7"
	    "gxe3FThxyCzn4vypJ",
	    "the signature is not base64url" },
	{ "HMAC cut to 16 bytes",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.DD4AePYpToLAdB5f7QXyCw",
	    "the signature is not by a key of ours" },
	{ "HMAC with a byte more",
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.DD4AePYpToLAdB5f7QXyC9MbO7"
	    "gxe3FThxyCzn4vypIA",
	    "the signature is not by a key of ours" },
	{ "claims an array",
	    "eyJhbGciOiJIUzI1NiJ9.WyJzdWIiXQ.WFKKh_P7YF3-N9-5eGaZNATYCqizSzYlnn_CXaBKeGQ",
	    "the claims are no JSON object" },
	{ "claims a string",
	    "eyJhbGciOiJIUzI1NiJ9.InN1YiI.Exe11xyNMWKqYzssIMMWNgbiAFGL1r3AYN2Deb5yqc0",
	    "the claims are no JSON object" },
	{ "claims with bytes behind them",
	    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn14.7La_PjPiue9aBzy7wieB_IifUVXYTyIdEcBp5UM6B3E",
	    "" },
	{ "claims nested",
	    "eyJhbGciOiJIUzI1NiJ9.eyJhIjpbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbXV1dXV1dX"
	    "V1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXX0.QqFGbJhdACm5vmh1_tBN2cf3DxMyWK4nqS8zQiB0xhM",
	    "too deep" },
	{ "header nested",
	    "eyJhbGciOiJIUzI1NiIsImEiOltbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tdXV1dXV1dXV"
	    "1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dfQ.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc"
	    "3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.mOQpBj0ns13rRNnhZg"
	    "fbr8bJk2RP9bzpe2W9MGASpsA",
	    "too deep" },
	{ "claims of 600 values",
	    "eyJhbGciOiJIUzI1NiJ9.eyJhIjpbMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxL"
	    "DEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDE"
	    "sMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsM"
	    "SwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSw"
	    "xLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxL"
	    "DEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDE"
	    "sMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsM"
	    "SwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSw"
	    "xLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxL"
	    "DEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDE"
	    "sMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsM"
	    "SwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSw"
	    "xLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxL"
	    "DEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDE"
	    "sMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsM"
	    "SwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSw"
	    "xLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxL"
	    "DEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDEsMSwxLDE"
	    "sMSwxLDFdfQ.7tPu8MurCfjQYHQBpXrP8gpc3Fu79AXN7NXoIJDs6jg",
	    "too many values" },
	{ "claims no UTF-8",
	    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiL_In0.3gHfn--y5ZvV3546Yziv_mAVyQLj0kqzraPys5E8jjo",
	    "" },
	{ "ECDSA: r and s 0",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	    "the signature is not by a key of ours" },
	{ "ECDSA: r 0",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "BTstuA9wGitfXNT9Xw0Ime7hS_hj66JhLmodbJDYeUgg",
	    "the signature is not by a key of ours" },
	{ "ECDSA: s 0",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.bp-7cm7CVbFBUKlbC-MI_0y81OWuXHAndOvGc4wiyI"
	    "cAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	    "the signature is not by a key of ours" },
	{ "ECDSA: r and s 1",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "EAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQ",
	    "the signature is not by a key of ours" },
	{ "ECDSA: r the order",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19._____wAAAAD__________7zm-q2nF56E87nKwvxjJV"
	    "FTstuA9wGitfXNT9Xw0Ime7hS_hj66JhLmodbJDYeUgg",
	    "the signature is not by a key of ours" },
	{ "ECDSA: s the order",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.bp-7cm7CVbFBUKlbC-MI_0y81OWuXHAndOvGc4wiyI"
	    "f_____AAAAAP__________vOb6racXnoTzucrC_GMlUQ",
	    "the signature is not by a key of ours" },
	{ "ECDSA: r and s the order",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19._____wAAAAD__________7zm-q2nF56E87nKwvxjJV"
	    "H_____AAAAAP__________vOb6racXnoTzucrC_GMlUQ",
	    "the signature is not by a key of ours" },
	{ "ECDSA: r the prime",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19._____wAAAAEAAAAAAAAAAAAAAAD_______________"
	    "9TstuA9wGitfXNT9Xw0Ime7hS_hj66JhLmodbJDYeUgg",
	    "the signature is not by a key of ours" },
	{ "ECDSA: s all ones",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.bp-7cm7CVbFBUKlbC-MI_0y81OWuXHAndOvGc4wiyI"
	    "f__________________________________________w",
	    "the signature is not by a key of ours" },
	{ "ECDSA: r and s the order less 1",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19._____wAAAAD__________7zm-q2nF56E87nKwvxjJV"
	    "D_____AAAAAP__________vOb6racXnoTzucrC_GMlUA",
	    "the signature is not by a key of ours" },
	{ "ECDSA: r and s swapped",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.U7LbgPcBorX1zU_V8NCJnu4Uv4Y-uiYS5qHWyQ2HlI"
	    "Jun7tybsJVsUFQqVsL4wj_TLzU5a5ccCd068ZzjCLIhw",
	    "the signature is not by a key of ours" },
	{ "ECDSA: DER",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.MEQCIG6fu3JuwlWxQVCpWwvjCP9MvNTlrlxwJ3Trxn"
	    "OMIsiHAiBTstuA9wGitfXNT9Xw0Ime7hS_hj66JhLmodbJDYeUgg",
	    "the signature is not by a key of ours" },
	{ "ECDSA: 48 bytes each",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AAAAAAAAAAAAAAAAAAAAAG6fu3JuwlWxQVCpWwvjCP"
	    "9MvNTlrlxwJ3TrxnOMIsiHAAAAAAAAAAAAAAAAAAAAAFOy24D3AaK19c1P1fDQiZ7uFL-GPromEuah1skNh5SC",
	    "the signature is not by a key of ours" },
	{ "ECDSA: 31 bytes of s",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.bp-7cm7CVbFBUKlbC-MI_0y81OWuXHAndOvGc4wiyI"
	    "dTstuA9wGitfXNT9Xw0Ime7hS_hj66JhLmodbJDYeU",
	    "the signature is not by a key of ours" },
	{ "ECDSA: empty halves",
	    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRwczovL2lkLmV4Y"
	    "W1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AA",
	    "the signature is not by a key of ours" },
	{ "RSA: bytes behind the hash",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.SKzts1lMXE2mPpUTz_cj4l56Fx"
	    "lZJAwdy_Df_sTjvChXylGTq1lEoxPeNYGIvGbXCVGoUsQjnZ5-RfEWK0zyFE9pgsSFqJEUnLVPL26rzTjS1QWkGMBX"
	    "JhANWGeaAEn7cn9QYgIoFJbFVJH8mwlmUqGsYJ0A5hrlMciSCEet67s5CVdOctQg5MqNF0sr4lBjWB5wN-A1Y9I1yG"
	    "VE1yHSFTVzQeTHmcq0G6faTIC-Kc-n6mxbJ0mKt_UF-mPSE7gIjY27ZKNeF9i8zYJgbTx2JVm_JQNF7Sdne1lIjKf8"
	    "x0bECYLJgaEgCz3FC10Dt2QZ-i8qXDzzQdeImd_OJnMayg",
	    "the signature is not by a key of ours" },
	{ "RSA: padding of 8 and garbage before the hash",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.gHyydN8oNCXDW-C3XEP1Uf9PA2"
	    "X9SDJiXnbH8MPL0oSznioFmay0dKIqNU3KQKcPi75KM852U86R5ZpKDROVBUH6A9fMCMFHWSNUAS4Eyq73gBkMSIQ_"
	    "8Q4-mc_DcsILzcbUmIHvTry1kFwPh0Bp3tuzsRp9aewM2CGF3iMwn39EVOXWnvxpN6ZwHB4CLm6gcZASs2Dou3d1Fg"
	    "XlIKYRW2Xr_lJ9R7wOr6A7OITpZb7bREO4i9ACZoqy20m4dpPaI581QEnwLyDUaInTM8dXK6aafwf0ErwzpvBQyTdv"
	    "Zge2ErJE6dS0daMJisC8YeqqMs3Nbtdz5hwUoBu5zwwMXw",
	    "the signature is not by a key of ours" },
	{ "RSA: padding with a byte that is not 0xff",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.h1C9fuHOmnrOyialR-wExAEwKX"
	    "Fwi2DbWq3pLw0XeKUmcdDFTU92XrrlluQtUIb4_o2czT9dishR3SWJnXQjEbv0_kTlAYo_CqZed4oj1JXViXFfNs5H"
	    "sVqUcRVyNlEwyuHFb1KfStxJhVpNNqzQkcjUFKf6yJuw8w7AxNwVg94jvxbSms75Ysw4ch40cXLSilsKEYp3iEzO1O"
	    "P0s0s-X2DVW2-ShzhswIywWY1_6-l5HiNH0iZgYbpOBjQPx3n-yJsevtFkorqkGe0zByCsTwm4_b7hatcu_GurqsCL"
	    "OA4MA0iiO3tjL3zISlixXSlOgTvLMucwpYWrRZeQHKzydw",
	    "the signature is not by a key of ours" },
	{ "RSA: block type 2",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.H1hRhpYYDmKd3GsXJgvdeyw9-p"
	    "pMnYoaRhIwI0HqjA7P6DmhxPwYB4kVojXn1GrEZ4cRl94cHQNNC5ySa6Z-H1BF1qDaB4RqQu1UjNLoNTyfT6VTL-BY"
	    "wov19aC8z6kkwZN6HMuavuHp8KflRAWu7YOsmTykIclKYYvqkfmKKq_Fzgud6srsbAJke_tiZQox9g9me_CrBu8pVS"
	    "7mQ1RQC8x4UH43cZ4iXMqg-4mPvs_ZfqJwRvc59n9s_ATWfQxh3IlH0JLvIff3d38sE5QewE38tTZKURDGOOIINTPw"
	    "WyFlbgFNzxYLrxOcOno1bLY22mZwrppCKgQ9j5wep4Ts3Q",
	    "the signature is not by a key of ours" },
	{ "RSA: block type 0",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.ngpoRRAvvxWnhuzzOIqPu2mzP5"
	    "ESyXRm-gYqMND6iF-hx0hsBsMqydBhkoilTUhWh0wOSD_gBt332OpyeqZE0w5DQeX5juCzZR8yR5PXHvnGgs3yOoJT"
	    "xtzGuKwNXIGLdEGyouWqfwN7A13xg614OKpp2zkB3NS17SjRRHkZFgWsq0bFoVq7KC9ok-3fUAa99gGOxtplN42m3m"
	    "s7L5SdOT0daMI-wojHvZQKgbsPkNxK4zp-EyhCEA0X6M7_dwntxRG5V0SMUqv_owB808VOS6cvDqEKUGIqsSqiLh9m"
	    "3hDH7SeEF5HkNdAr-K826WDCnmrJQrnFuxGaA0z2sA5XzQ",
	    "the signature is not by a key of ours" },
	{ "RSA: no 0 behind the padding",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.d6h3kIXhbHn7Fy6esGSSESM_qm"
	    "VD_CDZP_Tvf42cN1l11CF70Ut07sgbU0fIj_IYSVYW49gETqiPlEWC20WfelfihobLRgCP7EwyUNakdQn4QrROSdMa"
	    "Rc2vEDSDDg4vWbmJr-_Gt8J0C2YoNTpeGh5BhLZo6YYpEYI1Ey_H3iE2C3ewhP7G1wUuAIYC1q3UDuMvMy5WbHvdRg"
	    "-MZ_ow8i2yUHP0qq-1x-Kskkfmt_31kKWi6nsuhrMMQcNRO2SlvIGPdPeKIiPhf_6bkRsN8TaYLvQ9N5b8sSRnO1Bk"
	    "RsjR_cceXuRXt6i1etS9yoogA57JQnGccFLpG9GSNuO3KA",
	    "the signature is not by a key of ours" },
	{ "RSA: the hash without DigestInfo",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.n8Zuxn2dXx7xb9Gl8ZIjidwIQp"
	    "q6GMHXVBlNl5lgoH-E_VeNZOy7xKnSYhloXQ_uzh26pP7KrwLUV2IdIEAh_Owwg1tzcQVP-O00iPJStwR86XzBm57F"
	    "DD2jvVD4Isnv08LBkjuHbWruJo6Kb_7a0cyGsSUezUPLtnot01KOCUlurzzZiVJZqegkBhWnHSuIzkh8NzjnT-ULVk"
	    "VvqVdoN80WNdqbaypn_8CPWmbVcGZ7rtve148L3R_r8_FN1sXV3iSosiSVcG-a1RVnQdlvabAhPf4IvlC9HghM0Bc7"
	    "wUa6UdTZuWyocxx5oDUlY9IaeKHJWXcl2c92cmptVkvZ2A",
	    "the signature is not by a key of ours" },
	{ "RSA: DigestInfo of SHA-1",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.T5DP386p0K5RXZqu8VRQVahGXJ"
	    "DfbVW3lljULl4GNUGILYm4yuaO41AVYifrGajnCHEWGQvyibCc5Eo5cW9ZBZxEItJCOAtP5ruAn9gjcEVeBuUt9813"
	    "E4PwYdkl7zSL43yeyJFu0uXqVIrhVRVYt3EGm7G5G-iqsbSTFMrmNM-wrurxTQQGpFeXplMEUFUavcV9L48UoXYPVK"
	    "bySxhvMwbJhMaVhkLteSviK2_JOnpiDoozIsGzwlnohbU3n06sg48KZ9m811kHckrQ0uON9e8vRzpvw42GX9XrUmmJ"
	    "L3y6cIjFxbbmeKVrpOok1fmG5cversJUH52m0J-7e9gb1g",
	    "the signature is not by a key of ours" },
	{ "RSA: DigestInfo of SHA-512 with this hash",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.Tf6NM2JQnQ-yX6kHu2y_CCz8ZE"
	    "NMBrfAF8oKQOZItnYhSJFKYnFoVtW-jLJomGDEdD9JCNsbis0x7C_CwgdcAbSZV4HLWSHepS6oCUyCPOhnZ1XNgZ0E"
	    "c8GZo_4FvF9sVq0AD42V7f9SKOYI0gwO8N-MU6F-GWZxFv_DxepOXEbxhUqQ-_1KiOxHiH0E1M75mQ0YW1dBapIUjA"
	    "tgkOHl_slTRDJAboFkP_I0jLZTu95jb51ldgP7KMowwtx2zczgGN7FkoBJYZhgQ9_Igeqd7X0Q6q0cV3tuXSHc3cwc"
	    "EE0pSIkiqwU42sSsDB6fJxPO0IKA4C9tDX_AYXlBByQ97w",
	    "the signature is not by a key of ours" },
	{ "RSA: parameters stuffed",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.iqqzInAqOHX1cvoPO5OdWCkF9S"
	    "gmjRhP5Du1ATq6KEewHTMK7Ttk9URDI0wb4ED98UjO69SvgYEjGJgr2lTXQo7OihgxoUepmhkIACuBJGD_DtIiAAUo"
	    "9LfV_AdrbXjvhF3Umk9tU175RmTVqLrVX9RJa9kuHYs7fi22Ueacxg4Nx8Xj-c4PuDVCVF1EvLTqUA4JRcD4XFaPOY"
	    "AmlPUu9VLonKZCb5pDUdWBnmElL-rjUtvvhqabJDhKm51Kazfad09CtZWBJvK7xfMG-E4ST0yfb_U89u6vAQXy-zRC"
	    "Hum2U_rMURP4omA_Zp_qqgcaHLdD9P08lq4Wveb-WPI8Ug",
	    "the signature is not by a key of ours" },
	{ "RSA: long form of a length",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.oA-gH9LKenGlmRhnaXuBmTOojw"
	    "CZ-4zBg7QggxAkucT3M-JKg51XEfLISWRlMjRqh-Zbloj9J3yWFVtJqXf8HysK6SzQCgJD8wDoVvKCZ-2PGT47t5AO"
	    "l0FIfOVA5baPAEVXzx38WR3jaAxHwYQU70QgbSXCG9Q9_FXj9iQBDJLIXhAddMae_SAg3j_ikUoWHC18bHd_LHKBCk"
	    "hVG59EmnjaEoHARxXkNePFO__mHMOlp-S_Kpl24gCuVxCNVypVObSA2ogtxKOILTJa_3HtPo-GxkNTp7alXCqgYsGe"
	    "H7y-LMGLYn0EzXCwxReF9iIV96ADbfcEYQ2zXVzrSLvO_A",
	    "the signature is not by a key of ours" },
	{ "RSA: the hash of another text",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.Ak6UeCWjvq0Lu4dTAZmvOvYQWH"
	    "_sO6pVCXHJSt_r0gfZy8pqk1gwEB_AXQQYjM6YcH2DtONLKUxvl76AhASHN0YhqSMwswV2rnj3XcwA9cp7VGf8s0Xz"
	    "Sly-HCDWXTifNUNM7M_uJqxUpR8Gd-q2YCb5yTlUAfeJvkPxuSFLNc0E3QeN3ODJRyOKaeQ-R-D30u8k5AzhIoayCb"
	    "HUXr4H9Qw0QgHYuC4TX5bTrJLXWT0P5KnfJ157EuOwLYUrecbQjj_2TYla8FSHE44z8hDTinsctKVcdiO-Lh9J0j1U"
	    "ptpZ-EhY36dVSO-4qtthoTgF3PmeS4OXh46wxPsM3aqdkQ",
	    "the signature is not by a key of ours" },
	{ "RSA: PSS",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.lSPf4r37jQxfVTsX56z6xTTZV1"
	    "3olOc7foFMPZ4khJ1kJQhd-UOF7mt6n3HPh9PpHHjAek9M3DMXf4RbsAWHc9OEhIPIwAGCJVMYaVukJd9AeokvKuOg"
	    "ZWP00r2wTKoVEZ__pG50BzhsqPOabUlRPuIn9eXVXPYOJgH-80LPiW2yRm0OAZAzLpzbQL76vjZsYqDnihPr-nYoKe"
	    "nI9mNortEJ8wMLvY1m1wO8RRLyC6AkZqhACwWguA6TRHXNyzqq84QIsDU_3Sa-dvYBOKTuxVbfSFGZt7Er510BxDy5"
	    "UtuU3-9FGPKCtVkRhqVtUoK99BDJ_SHmS35gJopKmgSY0w",
	    "the signature is not by a key of ours" },
	{ "RSA: 0",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	    "the signature is not by a key of ours" },
	{ "RSA: 1",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQ",
	    "the signature is not by a key of ours" },
	{ "RSA: the modulus less 1",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.pJ2NwtL55RH_atyTbg25lVvxU8"
	    "2yrrh55vMXdebUNG6iIm6xbDXapqt-1i_ydfHZrVjzoWMizzBJ8QSOsbx8T8K54nH1Dn3pTqppcp2yTVDY3H--Orcl"
	    "lA5JN9s0VOIguQ0jmYzc-7OQw_ti2MpNEtJ6XK21PevgLD6lhBdS_VL4bXC_8rJGJvSTyDWHaZ_KaZ2NOtj6R4iZHd"
	    "zQqNNEigqIAjmvEvK5MWBrlZRumR8KS9cIGOnv6xCWuHBJmuBWbE-zy87PzLuNyFp_aVN2xTOru4Qn1FCrMVdWTtoi"
	    "YzV6LeCYL7R4RPHjSWuZngPLEqn9NMJ9NBab1msBHyozAA",
	    "the signature is not by a key of ours" },
	{ "RSA: the modulus",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.pJ2NwtL55RH_atyTbg25lVvxU8"
	    "2yrrh55vMXdebUNG6iIm6xbDXapqt-1i_ydfHZrVjzoWMizzBJ8QSOsbx8T8K54nH1Dn3pTqppcp2yTVDY3H--Orcl"
	    "lA5JN9s0VOIguQ0jmYzc-7OQw_ti2MpNEtJ6XK21PevgLD6lhBdS_VL4bXC_8rJGJvSTyDWHaZ_KaZ2NOtj6R4iZHd"
	    "zQqNNEigqIAjmvEvK5MWBrlZRumR8KS9cIGOnv6xCWuHBJmuBWbE-zy87PzLuNyFp_aVN2xTOru4Qn1FCrMVdWTtoi"
	    "YzV6LeCYL7R4RPHjSWuZngPLEqn9NMJ9NBab1msBHyozAQ",
	    "the signature is not by a key of ours" },
	{ "RSA: a 0 in front",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.ACFeiz__d5y5O9kNXcZP0psGmS"
	    "vGz8Kl63HEc4_moe4P3tPyF_R51mdz-fltzIZhcPqP5WjCx0m07pzAnJ6aDDI8vEU_YW1BYX13Er_WaBX_mUM9Dt3B"
	    "sWcHohjds0R0RkLjrwLhWvgdwJb2s89sYrY1XGhBmEdZdnWKePuhc1ChRcasfjPzy2GO4z-62AQHcRd1gXk4XdohhM"
	    "jXIcEIjqtCLLUH3e8lnCqiX5WnMKj9mvca89dNvHs-QyT4EwHh7NkY-88D2Aa9RyeLATCHn0IoGdbwkRgL2EtPkNl2"
	    "-GzwrczhsVJFU7v9X641HUDk5ydpVqmMwRfmlsp8I22EfSA",
	    "the signature is not by a key of ours" },
	{ "RSA: plus the modulus",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AMX8GQLScYHLO0Pp8TRdjDBiin"
	    "-UgnFeZVi3iwXNdiJ-gPZgyWCvsQ4feM-dvvxTSqfo2Qol6hjlOI3FK1BWiIH_diexVnu_SswhfDJ0GmNQch-8zRh4"
	    "1vsV61C455lWZvvw0pxuN_PRUVryFqg2r8kH1sTvTYVFVqHJHn-4xk30PjQdPiamEYiDdwfwX22nO4ETDrQRWCGqHe"
	    "az8mnb0zVMtLdBjQIYVVwCyys7n0IcpULx-_A3rGZO2d1oXJzCQ0Vor5rSp9N41O_lgJnbFgdbxZJ0uOxcg3ym5yhR"
	    "GtAmJ_rCSYH5zADvQvegtt7osjoTU95PPkv9MqDnJIyusCE",
	    "the signature is not by a key of ours" },
	{ "RSA: 1500 bytes",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
	    "the signature is too long" },
	{ "RSA: 512 bytes",
	    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJod"
	    "HRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
	    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	    "AQEBAQEBAQEBAQEBAQEBAQEBAQE",
	    "the signature is not by a key of ours" },
	{ "RSA: a cube root for e = 3",
	    "eyJhbGciOiJSUzI1NiIsImtpZCI6InRocmVlIn0.eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOi"
	    "JodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjpbInR1bm5lbCIsIm90aGVyIl19.AAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAMsv9SnrceQVYPXZ1IPUWQHWRdtN4JvLvY649x6pSaCkJgKZl957twb1J_6l-OPsL4"
	    "ADdI89_6pvo_jFqbAxvf2TGRwlzoNzV5Pa1xWbQSF36WJXEAQ",
	    "the signature is not by a key of ours" },
};
