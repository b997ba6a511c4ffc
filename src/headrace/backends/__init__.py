"""The machines that run a decode program. Each is a file or a folder; `registry` names them."""
