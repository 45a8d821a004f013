SELECT fingerprint, committed FROM answers WHERE namespace = $1 AND key = $2 AND expires_at > clock_timestamp()
