"""Float16 files: what their rounding costs, and which layers stay in float32."""
