UPDATE counter SET sequence = $1, at = $2
