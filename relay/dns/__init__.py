"""DNS, and what the DNS says of a domain: SPF, DKIM keys, DMARC, ownership."""
