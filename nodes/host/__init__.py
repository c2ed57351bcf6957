"""Everything that needs ComfyUI's own modules, one file for each purpose. No other file imports them.

comfy_api is the language of schemas, and is used by every node.
"""
