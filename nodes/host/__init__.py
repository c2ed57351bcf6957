"""All that is asked of ComfyUI, a file for each thing that is asked. Nothing else imports its own modules.

comfy_api is the language of schemas, and is used by every node.
"""
